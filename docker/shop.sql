-- A small shop, and a role that may do nothing but read it.
CREATE TABLE customers (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    email text UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES customers,
    total numeric(12, 2) NOT NULL,
    tags text[] NOT NULL DEFAULT '{}',
    details jsonb,
    ordered_at timestamptz NOT NULL DEFAULT now()
);

INSERT INTO customers (name, email) SELECT 'customer ' || i, 'c' || i || '@example.com' FROM generate_series(1, 1000) AS i;
INSERT INTO orders (customer_id, total, tags, details)
SELECT 1 + i % 1000, i * 1.25, ARRAY['web'], jsonb_build_object('items', i % 7) FROM generate_series(1, 10000) AS i;

CREATE ROLE reader LOGIN PASSWORD 'reader';
GRANT USAGE ON SCHEMA public TO reader;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO reader;
