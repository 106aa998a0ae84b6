"""`python -m regionmir.admin` is the `regionmir` command."""

from regionmir.admin.main import main

if __name__ == "__main__":
    main()
