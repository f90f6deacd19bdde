// Reads texts of YAML, one base64 word a line, and prints for each what sigs.k8s.io/yaml makes of it.
package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

type answer struct {
	JSON   json.RawMessage `json:"json,omitempty"`
	Error  string          `json:"error,omitempty"`
	Strict string          `json:"strict,omitempty"`
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		text, err := base64.StdEncoding.DecodeString(lines.Text())
		if err != nil {
			panic(err)
		}
		said, _ := json.Marshal(read(text))
		fmt.Println(string(said))
	}
}

func read(text []byte) answer {
	found, err := yaml.YAMLToJSON(text)
	if err != nil {
		return answer{Error: err.Error()}
	}
	said := answer{JSON: found}
	if _, err := yaml.YAMLToJSONStrict(text); err != nil {
		said.Strict = err.Error()
	}
	return said
}
