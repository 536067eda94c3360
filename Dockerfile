# syntax=docker/dockerfile:1
# Strandline, built from this directory: docker build -t strandline .

FROM rust:1.89-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends make pkg-config libssl-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin strandline && cp target/release/strandline /strandline && strip /strandline

FROM debian:bookworm-slim
# OpenSSL for TLS to all three servers, and the authorities that it trusts; ssh for databases behind a bastion.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libssl3 openssh-client \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin strandline
COPY --from=build /strandline /usr/local/bin/strandline
USER 10001
WORKDIR /etc/strandline
# SIGTERM finishes the step and commits; what is killed after that is read again by the next start.
STOPSIGNAL SIGTERM
ENTRYPOINT ["strandline"]
CMD ["run"]
