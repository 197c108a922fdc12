-- The peer table of the Rust server (docs/protocol.md, "Peer table"), so that a folder can be taken over
-- and given back. Dates are UTC.
create table if not exists peer (
    guid blob primary key not null,                          -- 16 random bytes
    id varchar(100) not null,                                -- what a controlling client types
    uuid blob not null,                                      -- the machine; never changes in a row
    pk blob not null,                                        -- the client's Ed25519 public key
    created_at datetime not null default (current_timestamp),
    user blob,                                               -- unused
    status tinyint,                                          -- unused
    note varchar(300),                                       -- unused
    info text not null                                       -- JSON: {"ip": "::ffff:192.0.2.1"}
) without rowid;
create unique index if not exists index_peer_id on peer (id);
create index if not exists index_peer_user on peer (user);
create index if not exists index_peer_created_at on peer (created_at);
create index if not exists index_peer_status on peer (status);
