"""The status page: what the pools of this process do, for staff; and their health, for machines."""
