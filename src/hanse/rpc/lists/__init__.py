"""Lists over RPC: parents, filters, orders and pages, in one place for all services."""
