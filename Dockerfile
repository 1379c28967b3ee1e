# syntax=docker/dockerfile:1

# One static binary, the certificates that it trusts, and nothing else: no shell, no libraries, no root.
#
#   docker build --tag azure-incremental .
#   docker run --rm --read-only --env-file .env --volume azure-incremental:/var/lib/azure-incremental azure-incremental check
#
# It writes only the files that CHECKPOINT_FILE and DEAD_LETTER_FILE name. It starts in /var/lib/azure-incremental, where a volume keeps them.
# The base images are pinned to exact versions, and Dependabot proposes newer ones. None of them is part of the released image.

FROM rust:1.95.0-alpine3.23 AS build
# The cryptography is C. Alpine keeps only the latest version of a package, so none is named.
# hadolint ignore=DL3018
RUN apk add --no-cache gcc musl-dev
WORKDIR /src
COPY Cargo.toml Cargo.lock build.rs ./
COPY benches benches
COPY crates crates
COPY examples examples
COPY src src
# Shown by -V. The git history is not copied.
ARG BUILD_COMMIT
ARG TARGETARCH
# With --target, the cache keeps the artifacts of both architectures apart.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    target=$(rustc --print host-tuple) && \
    cargo build --locked --release --bin azure-incremental --target "$target" && \
    install -D "target/$target/release/azure-incremental" "/out/$TARGETARCH/azure-incremental"

# On the builder's own architecture: the files are the same for all.
FROM --platform=$BUILDPLATFORM alpine:3.23.4 AS files
# hadolint ignore=DL3018
RUN apk add --no-cache ca-certificates && install -d -m 0700 -o 65532 -g 65532 /state

FROM scratch
ARG TARGETARCH
COPY --from=files /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=files --chown=65532:65532 /state /var/lib/azure-incremental
# The release replaces the stage `build` with the binaries that it has built, packed and attested.
COPY --from=build /out/${TARGETARCH}/azure-incremental /usr/local/bin/azure-incremental
# A number, so that Kubernetes can see that it is not root.
USER 65532:65532
# Where the checkpoint of .env.example is then.
WORKDIR /var/lib/azure-incremental
ENTRYPOINT ["/usr/local/bin/azure-incremental"]
