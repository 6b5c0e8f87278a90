"""The way in from the shell; everything else is imported late, so that Ctrl-C is always heard."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    try:
        from myosynth.app.commands import app

        app()
    except KeyboardInterrupt:
        sys.stderr.write("Error: stopped\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
