-- What clients are told at run time (ConfigUpdate): one row, the one with the highest serial.
-- The Rust server leaves this table alone.
create table if not exists client_settings (
    only_row integer primary key check (only_row = 1),
    serial integer not null,
    rendezvous_servers text not null                         -- JSON list of names
);
