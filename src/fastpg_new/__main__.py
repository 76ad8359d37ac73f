"""The installed command, and `python -m fastpg_new`."""

import signal

# Until somebody listens (staging.py), signals wait: in the middle of an import KeyboardInterrupt
# would become a traceback, or the strangest errors.
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))

from fastpg_new.cli import main  # noqa: E402 (see above)

if __name__ == "__main__":
    main()
