"""Deployments: desired state kept, replicas started, watched, restarted, scaled and ended.

Owns: the life of deployments and the policy of restarts, idle unload and load-on-call.
Does not own: how a replica process is started (a `ReplicaPool` port), answering requests.
"""
