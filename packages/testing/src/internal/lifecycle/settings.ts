/** The options of an environment as the core takes them, of a configuration. */
import type * as EnvironmentConfig from "@effect-sandbox/core/EnvironmentConfig"
import type * as Feature from "@effect-sandbox/core/Feature"
import * as LoadBalancer from "@effect-sandbox/core/LoadBalancer"
import * as Schedule from "effect/Schedule"
import { defaultAcquireTimeout } from "./exits.ts"
import { type Configuration, dynamicMax } from "./program.ts"

/** Those that are called the same, and mean the same when they are left out. */
const same = [
  "proactiveSessionSetup",
  "concurrency",
  "maxSessions",
  "maxLifetime",
  "idleTimeToLive",
  "sessionLifetime",
  "sessionIdleTimeout",
  "pingTimeout",
  "missedPings",
  "housekeepInterval",
  "teardownTimeout",
  "outageGracePeriod",
  "onOutage"
] as const

const balancers = {
  roundRobin: LoadBalancer.roundRobin,
  mostRecent: LoadBalancer.mostRecent,
  random: LoadBalancer.random
}

export const settingsOf = (
  configuration: Configuration,
  features: ReadonlyArray<Feature.Any>
): EnvironmentConfig.Options => {
  const { dynamicImages, images, outageRetry = { every: 5000 } } = configuration
  const spaced = Schedule.spaced(outageRetry.every)
  const jittered = outageRetry.jittered === true ? Schedule.jittered(spaced) : spaced
  return {
    // Nothing is passed on as undefined: that takes longer to check than what is left out.
    ...Object.fromEntries(same.flatMap((key) => (configuration[key] === undefined ? [] : [[key, configuration[key]]]))),
    id: "env",
    images: images.map(({ id }) => id),
    dynamicImages: dynamicImages === true ? ["dynamic.*"] : false,
    pool: {
      ...Object.fromEntries(images.map(({ id, max, min }) => [id, max === 0 ? 0 : { min, max }])),
      // The minimum does not apply to images that are not listed (P5).
      "dynamic.*": { min: 1, max: dynamicMax }
    },
    features,
    loadBalancer: balancers[configuration.loadBalancer ?? "roundRobin"],
    acquireTimeout: configuration.acquireTimeout ?? defaultAcquireTimeout,
    keepaliveInterval: configuration.keepaliveInterval ?? 0,
    outageRetry: outageRetry.times === undefined ? jittered : Schedule.upTo(jittered, { times: outageRetry.times })
  }
}
