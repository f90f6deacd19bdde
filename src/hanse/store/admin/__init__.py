"""What an administrator does with etcd: users and roles, upkeep, snapshots."""
