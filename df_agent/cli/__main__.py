"""`python -m df_agent.cli COMMAND key=value ...`, where `df-agent` is not on the PATH."""

from df_agent.cli.app import main

if __name__ == "__main__":
    main()
