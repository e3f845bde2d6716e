"""The code of the good plugin: imported when it is used."""

import os

import click


@click.command("greet")
@click.argument("who")
def greet(who):
    """Greet somebody."""
    click.echo(f"hello {who}")


def mood():
    return os.environ.get("ACME_MOOD") != "bad", "fine, thank you"
