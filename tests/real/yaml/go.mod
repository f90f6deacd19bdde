// A reader of YAML as Kubernetes reads it, for test_yaml.py; see build.sh.
module hanse.dev/tests/yaml

go 1.24.0

require sigs.k8s.io/yaml v1.6.0

require go.yaml.in/yaml/v2 v2.4.4 // indirect
