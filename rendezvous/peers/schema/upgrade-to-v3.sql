-- On which day a peer was online last, for purging those that are gone: days since 1970-01-01, UTC.
-- The Rust server leaves these tables alone.
create table if not exists seen (
    id varchar(100) primary key not null,
    day integer not null
) without rowid;
-- One row: since when days are noted. Who is not in the table above has not been online since.
create table if not exists seen_since (
    only_row integer primary key check (only_row = 1),
    day integer not null
);
insert or ignore into seen_since values (1, cast(strftime('%s', 'now') as integer) / 86400);
