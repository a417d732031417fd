"""`python -m genart`, and the installed command."""


def main() -> None:
    """Run the command line; an interruption while it is being loaded ends it quietly."""
    try:
        from .cli import main as run
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    run()


if __name__ == "__main__":
    main()
