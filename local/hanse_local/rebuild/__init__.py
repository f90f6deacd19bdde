"""Intent out of what members have, when etcd is lost."""
