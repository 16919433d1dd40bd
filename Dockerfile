# overlayd as an image. `./dev image` builds it without a Docker daemon, and runs the result; `docker build .` works,
# too. All packages are the distribution's, from whatever sources the base image has.
#
#   --build-arg BASE=NAME     another Debian 13 (or 12 with its backports)
#   --build-arg PRESET=NAME   release (default) or debug: see CMakePresets.json
#   --build-arg JOBS=N        parallel compilations (default: all cores)
#   --target demo-core        the demo core instead, for k8s/overlays/dev
#
# The daemon runs as user 65532 on a read-only root file system. It writes to /run/overlayd (its sockets) and to
# /var/lib/overlayd (the peers that it knows), and needs no shell. No HEALTHCHECK: Kubernetes asks over HTTP, on the
# metrics port (/livez, /readyz, /startupz), and an image cannot know where that listens.
ARG BASE=debian:13-slim

FROM ${BASE} AS build
# Equal to what `./dev setup --list build` prints: tests/image/dockerfile_test.py compares.
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      build-essential ccache cmake libabsl-dev libc-ares-dev libcivetweb-dev libfmt-dev libgnutls28-dev \
      libgrpc++-dev libnghttp3-dev libngtcp2-crypto-gnutls-dev libngtcp2-dev libprotobuf-dev libspdlog-dev \
      libssl-dev libtomlplusplus-dev libzstd-dev nettle-dev ninja-build pkg-config prometheus-cpp-dev \
      protobuf-compiler protobuf-compiler-grpc zlib1g-dev
WORKDIR /src
COPY CMakeLists.txt CMakePresets.json ./
COPY cmake cmake
COPY proto proto
COPY flood flood
COPY transport transport
COPY client-sdk client-sdk
COPY server server
COPY packaging packaging
COPY scripts/image/runtime_packages.sh scripts/image/runtime_packages.sh
ARG PRESET=release
ARG JOBS=
RUN export CCACHE_BASEDIR=/src CCACHE_NOHASHDIR=1 && \
    cmake --preset "$PRESET" -B /out -DBUILD_TESTING=OFF && \
    cmake --build /out -j ${JOBS:-$(nproc)} --target overlayd overlayctl overlay-demo-core && \
    DESTDIR=/stage/overlayd cmake --install /out --prefix /usr --component daemon --strip && \
    DESTDIR=/stage/demo-core cmake --install /out --prefix /usr --component demo --strip && \
    scripts/image/runtime_packages.sh /stage/*/usr/bin/* >/stage/packages

FROM ${BASE} AS runtime
COPY --from=build /stage/packages /usr/share/overlayd/packages
RUN apt-get update && \
    DEBIAN_FRONTEND=noninteractive xargs apt-get install -y --no-install-recommends </usr/share/overlayd/packages && \
    apt-get clean && rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log && \
    install -d -m 0750 -o 65532 -g 65532 /run/overlayd /var/lib/overlayd && install -d /etc/overlayd
USER 65532:65532
STOPSIGNAL SIGTERM

FROM runtime AS demo-core
COPY --from=build /stage/demo-core /
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="overlay-demo-core" \
      org.opencontainers.image.description="Plays a consensus core beside one overlayd, to try it out" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENTRYPOINT ["/usr/bin/overlay-demo-core"]

FROM runtime AS overlayd
COPY --from=build /stage/overlayd /
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="overlayd" \
      org.opencontainers.image.description="The peer-to-peer half of a validator, as a process of its own" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Peers over QUIC; the metrics port is whatever metrics.listen says, 9464 in k8s/.
EXPOSE 11625/udp 9464/tcp
VOLUME ["/run/overlayd", "/var/lib/overlayd"]
ENTRYPOINT ["/usr/bin/overlayd"]
CMD ["run"]
