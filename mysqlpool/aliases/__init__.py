"""The pools of this process by alias, and what Django's settings make of one."""
