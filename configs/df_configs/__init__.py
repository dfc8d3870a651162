"""Values that belong to a policy, an environment, a method or an algorithm: a file each, by the name that chooses it.

Everything else about an option, its meaning and its default, stands in `df_agent.cli.options`.
"""
