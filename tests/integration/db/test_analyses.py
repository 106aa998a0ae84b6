"""Work that generations have still to do: looked for by indexes, however much of it there is."""

from contextlib import closing

from sqlalchemy import text

from db import analyses
from db.engine import Database
from tests.support.seed import all_found, many_films, seed

FILMS = 200


def test_a_claim_reads_what_it_takes_and_not_all_that_waits(database: Database) -> None:
    films, info = many_films(FILMS, all_found(1), 8)
    model_pk = seed(database, films, info=info)
    with database.session() as session:
        session.execute(text("UPDATE analysis SET state = 'waiting', attempts = 0"))
        session.execute(text("UPDATE analysis SET attempts = 5 WHERE instance_pk = (SELECT min(pk) FROM instance)"))
        session.execute(text("ANALYZE analysis"))
    with closing(Database(database.url, application_name="claiming")) as claiming, claiming.session() as session:
        session.execute(text("SET LOCAL enable_seqscan = off"))  # the table is small
        assert len(analyses.claim(session, model_pk, 5, 60.0)) == 5
        read = "SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'analysis'"
        assert int(session.execute(text(read)).scalar_one()) < 50
        failed = "SELECT count(*) FROM analysis WHERE state = 'failed'"
        assert session.execute(text(failed)).scalar_one() == 1
