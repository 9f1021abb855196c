"""Real clusters: Galera, and Group Replication, whose nodes are killed, frozen and made read-only.

``tox run -e galera`` and ``tox run -e group-replication`` run them. See CONTRIBUTING.rst.
"""
