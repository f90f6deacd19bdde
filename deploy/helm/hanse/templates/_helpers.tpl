{{/* Written by `python -m tests.deploy.chart` from deploy/k8s.
     The settings of etcd: of its members, as many as the profile has. */}}
{{- define "hanse.etcdSettings" -}}
{{- $own := dict }}
{{- if eq .Values.profile "ha" }}
{{- $_ := set $own "ETCD_INITIAL_CLUSTER" "hanse-etcd-0=https://hanse-etcd-0.hanse-etcd-peers:2380,hanse-etcd-1=https://hanse-etcd-1.hanse-etcd-peers:2380,hanse-etcd-2=https://hanse-etcd-2.hanse-etcd-peers:2380" }}
{{- end }}
{{- toYaml (merge $own .Values.settings.etcd) }}
{{- end }}
{{/* Data of a ConfigMap, which is text: a number is written as one writes it. */}}
{{- define "hanse.data" -}}
{{- range $name, $value := . }}
{{- if and (kindIs "float64" $value) (eq (floor $value) $value) }}
{{ $name }}: {{ $value | int64 | toString | quote }}
{{- else }}
{{ $name }}: {{ $value | toString | quote }}
{{- end }}
{{- end }}
{{- end }}
{{/* The ports of federation.etcdEndpoints, as a NetworkPolicy has them. */}}
{{- define "hanse.etcdPorts" -}}
{{- $ports := list }}
{{- range splitList "," .Values.federation.etcdEndpoints }}
{{- $ports = append $ports (. | trim | splitList ":" | last) }}
{{- end }}
{{- range $ports | uniq }}
- port: {{ . }}
  protocol: TCP
{{- end }}
{{- end }}
