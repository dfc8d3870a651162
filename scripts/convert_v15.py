"""`df-agent convert`, from a checkout: `python scripts/convert_v15.py weights=FILE env=maze2d-medium`."""

from df_agent.cli.app import main

if __name__ == "__main__":
    main("convert")
