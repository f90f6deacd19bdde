"""Who may do what in a simulated cluster: tokens of ServiceAccounts, and RBAC."""
