//go:build tools

// Package node has what a node runs beside a control plane; agnhost is built as it is.
package node

import _ "k8s.io/kubernetes/test/images/agnhost" // Pods of examples, and what keeps a Pod's namespaces
