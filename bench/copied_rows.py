"""Tables filled by the server itself, with copies of the row that the product's own code made."""

from sqlalchemy import Connection, Engine, text


def columns_of(connection: Connection) -> dict[str, list[str]]:
    """The columns of each table."""
    rows = connection.execute(
        text("SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public'")
    )
    found: dict[str, list[str]] = {}
    for table, column in rows:
        found.setdefault(table, []).append(column)
    return found


def copy_row(connection: Connection, columns: list[str], table: str, rows: int, changed: dict[str, str]) -> None:
    """So many copies of a row of the table, numbered n, with these columns computed."""
    values = ", ".join(changed.get(column, f"model.{column}") for column in columns)
    connection.execute(
        text(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {values} FROM generate_series(1, {rows}) AS n, "
            f"(SELECT * FROM {table} LIMIT 1) AS model"
        )
    )


def without_foreign_keys(connection: Connection) -> None:
    """Those of copied rows hold by construction; checking ten million takes minutes."""
    connection.execute(text("SET session_replication_role = replica"))


def job_id(number: str) -> str:
    """Time-ordered ids, as the product makes them: a UUIDv7's first 48 bits count milliseconds."""
    return (
        f"(lpad(to_hex(1700000000000 + ({number}) * 1000), 12, '0') || '7' || lpad(to_hex(({number}) % 4096), 3, '0') "
        f"|| '8' || lpad(to_hex({number}), 15, '0'))::uuid"
    )


def vacuum(engine: Engine) -> None:
    """As the server does by itself, some time after so many rows came."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
