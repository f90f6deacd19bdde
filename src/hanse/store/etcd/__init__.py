"""The store over etcd."""
