"""The embedded etcd."""
