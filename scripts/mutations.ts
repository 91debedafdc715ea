/** Bugs that the model checker must find in the core: each a small change of its source. */

export interface Mutation {
  readonly name: string
  /** The bug, in words. */
  readonly what: string
  /** Below `packages/core/src`. */
  readonly file: string
  /** Must occur exactly once. */
  readonly search: string
  readonly replace: string
  /** The rules that it breaks. */
  readonly breaks: string
}

const pool = "internal/imagePool.ts"
const sandbox = "internal/sandboxRuntime.ts"
const environment = "internal/environmentRuntime.ts"

export const mutations: ReadonlyArray<Mutation> = [
  // Waking up
  {
    name: "lost-wakeup-on-release",
    what: "a sandbox that becomes free is kept although somebody waits for it",
    file: pool,
    search: '    const waiter = this.waiters.take()\n    if (waiter !== undefined) {\n      sandbox.move("Acquired")',
    replace:
      '    const waiter = sandbox.served === 0 ? this.waiters.take() : undefined\n    if (waiter !== undefined) {\n      sandbox.move("Acquired")',
    breaks: "P3 I8"
  },
  {
    name: "lost-wakeup-on-assigned",
    what: "a sandbox that was handed to somebody who has just gone away is lost",
    file: pool,
    search: "          this.giveBack(waiter.assigned)\n",
    replace: "",
    breaks: "P3 P4"
  },
  {
    name: "waiter-served-last-first",
    what: "who came last is served first",
    file: pool,
    search: "  private readonly waiters = linkedSet<Waiter>()",
    replace: '  private readonly waiters = linkedSet<Waiter>("newest")',
    breaks: "P2 I8"
  },
  {
    name: "interrupted-waiter-stays",
    what: "a waiter that was interrupted stays in the queue",
    file: pool,
    search: "        const hasGivenUp = this.waiters.remove(waiter) // nobody has answered\n",
    replace: "        const hasGivenUp = Exit.isSuccess(exit) && this.waiters.remove(waiter)\n",
    breaks: "P4"
  },
  {
    name: "timed-out-waiter-stays",
    what: "a waiter that has given up stays in the queue",
    file: pool,
    search: "        const hasGivenUp = this.waiters.remove(waiter) // nobody has answered\n",
    replace: "        const hasGivenUp = Exit.isFailure(exit) && this.waiters.remove(waiter)\n",
    breaks: "P4"
  },
  {
    name: "waiters-not-told-of-shutdown",
    what: "whoever waits is not told that the environment shuts down",
    file: pool,
    search: "    this.failWaiters(() => error)\n    for (const fiber",
    replace: "    for (const fiber",
    breaks: "L4 H5"
  },
  {
    name: "acquire-timeout-ignored",
    what: "waiters never give up",
    file: pool,
    search: "restore(Effect.timeoutOption(Deferred.await(waiter.answer), acquireTimeout))",
    replace: "restore(Effect.asSome(Deferred.await(waiter.answer)))",
    breaks: "P4"
  },

  // The pool
  {
    name: "overshoot",
    what: "the pool is checked before, and the place is taken after a turn",
    file: pool,
    search:
      "      const sandbox = this.place()\n      // The yield keeps a sandbox that comes up at once from growing the next one on top of its own stack.\n      this.engine.background(\n        Effect.uninterruptibleMask((restore) => Effect.andThen(Effect.yieldNow, this.bringUp(sandbox, restore)))\n      )\n      started++\n",
    replace:
      "      started++\n      this.engine.background(\n        Effect.uninterruptibleMask((restore) =>\n          Effect.andThen(Effect.yieldNow, Effect.suspend(() => this.bringUp(this.place(), restore)))\n        )\n      )\n      if (started >= Math.max(1, this.waiters.size)) break\n",
    breaks: "I2 P3"
  },
  {
    name: "place-kept-after-failed-create",
    what: "the place of a sandbox that did not come up is not given back",
    file: pool,
    search: "    this.live.delete(sandbox)\n",
    replace: "    if (sandbox.wasReady) this.live.delete(sandbox)\n",
    breaks: "P2 P3 I7"
  },
  {
    name: "generation-kept",
    what: "a sandbox that takes the place of another one keeps its generation",
    file: pool,
    search: "    this.generations[slot] = generation + 1\n",
    replace: "    this.generations[slot] = generation\n",
    breaks: "H2 L7"
  },
  {
    name: "slot-not-reused",
    what: "a sandbox that replaces another one takes a new slot",
    file: pool,
    search: "    this.freeSlots.push(sandbox.slot)\n",
    replace: "",
    breaks: "H2 P3"
  },
  {
    name: "dead-not-replaced",
    what: "a sandbox that has died is not replaced until housekeeping",
    file: pool,
    search: "    if (sandbox.wasReady) this.replaced += this.grow()\n",
    replace: "",
    breaks: "H2 P3"
  },
  {
    name: "shrinks-below-minimum",
    what: "idle sandboxes are taken down below the minimum",
    file: pool,
    search: "        this.live.size - this.counts.ShuttingDown > this.min &&\n",
    replace: "        this.live.size - this.counts.ShuttingDown > this.min - 1 &&\n",
    breaks: "P1 P6"
  },
  {
    name: "never-shrinks",
    what: "idle sandboxes are never taken down",
    file: pool,
    search: "        now(this.engine) - sandbox.since >= idleTimeToLive\n",
    replace: "        now(this.engine) - sandbox.since > idleTimeToLive * 1000\n",
    breaks: "P6"
  },
  {
    name: "outage-keeps-waiters",
    what: "waiters are not failed when the grace period of an outage is over",
    file: pool,
    search: "        outage.isOver = true\n        this.failWaiters(() => this.outageError(outage))",
    replace: "        outage.isOver = true",
    breaks: "H3"
  },
  {
    name: "dead-stays-ready",
    what: "a sandbox that dies while it is ready stays among those that are",
    file: sandbox,
    search:
      "        this.pool.ready.remove(this)\n        this.engine.background(this.shutDown(describe(reason)))\n        return",
    replace: "        return",
    breaks: "S4 I4 F21"
  },
  {
    name: "one-session-too-many",
    what: "a sandbox serves one session more than it may",
    file: sandbox,
    search: "this.served >= maxSessions",
    replace: "this.served > maxSessions",
    breaks: "P6"
  },
  {
    name: "one-session-too-few",
    what: "a sandbox is replaced one session too early",
    file: sandbox,
    search: "this.served >= maxSessions",
    replace: "this.served >= maxSessions - 1",
    breaks: "P6"
  },
  {
    name: "lifetime-ignored",
    what: "a sandbox is not replaced when it is too old",
    file: sandbox,
    search:
      '    if (maxLifetime !== undefined && now(this.engine) - this.createdAt >= maxLifetime) return "reached its lifetime"\n',
    replace: "",
    breaks: "P6"
  },

  // Sessions
  {
    name: "death-does-not-interrupt",
    what: "the body of a session goes on when its sandbox dies",
    file: sandbox,
    search: "        if (this.session !== undefined) this.engine.background(this.session.stop(reason))\n        return",
    replace:
      '        if (this.session !== undefined && reason._tag !== "SandboxStateError") this.engine.background(this.session.stop(reason))\n        return',
    breaks: "S4"
  },
  {
    name: "second-owner",
    what: "a sandbox is handed out once more while it is in use",
    file: sandbox,
    search: '        session.open(id)\n        this.move("InSession")',
    replace:
      '        session.open(id)\n        this.move("InSession")\n        if (this.pool.isPooled && this.served === 1) this.pool.ready.add(this)',
    breaks: "I3 I5"
  },
  {
    name: "double-release",
    what: "a sandbox is released twice",
    file: sandbox,
    search: "          onSuccess: () => Effect.sync(() => this.pool.offer(this))",
    replace:
      "          onSuccess: () =>\n            Effect.sync(() => {\n              this.pool.offer(this)\n              if (this.served === 2) this.pool.ready.add(this)\n            })",
    breaks: "I3 I5"
  },
  {
    name: "reset-skipped",
    what: "a sandbox is not reset between sessions",
    file: sandbox,
    search: "      return this.isSetUpAhead ? Effect.andThen(reset, this.prepare) : reset",
    replace: "      return this.isSetUpAhead ? Effect.andThen(Effect.void, this.prepare) : reset",
    breaks: "S1"
  },
  {
    name: "first-reset-skipped",
    what: "a sandbox is not reset before its first session",
    file: sandbox,
    search: "      if (this.parts.length > 0) yield* this.instanceOrDie.reset\n",
    replace: "",
    breaks: "S1"
  },
  {
    name: "duplicate-id-accepted",
    what: "two sessions may have the same id",
    file: environment,
    search: "      if (this.sessions.has(given) || this.reserved.has(given)) {",
    replace: "      if (this.reserved.has(given)) {",
    breaks: "S2"
  },
  {
    name: "reserved-id-accepted",
    what: "an id is not in use while its session waits for a sandbox",
    file: environment,
    search: "      if (this.sessions.has(given) || this.reserved.has(given)) {",
    replace: "      if (this.sessions.has(given)) {",
    breaks: "S2"
  },
  {
    name: "id-not-freed",
    what: "the id of a session that could not be opened stays in use",
    file: environment,
    search:
      "      return Effect.ensuring(\n        this.openOn(image, given, restore),\n        Effect.sync(() => this.reserved.delete(given))\n      )",
    replace:
      "      return Effect.tap(\n        this.openOn(image, given, restore),\n        Effect.sync(() => this.reserved.delete(given))\n      )",
    breaks: "S2"
  },
  {
    name: "unpooled-reused",
    what: "a sandbox without a pool serves more than one session",
    file: sandbox,
    search: "      if (!this.pool.isPooled) return this.shutDown(reason ?? ",
    replace: "      if (!this.pool.isPooled && this.served > 1) return this.shutDown(reason ?? ",
    breaks: "P1"
  },
  {
    name: "lifetime-limit-ignored",
    what: "a session lasts longer than it may",
    file: environment,
    search: "    if (sessionLifetime !== undefined)\n",
    replace: "    if (sessionLifetime !== undefined && sessionIdleTimeout !== undefined)\n",
    breaks: "S6"
  },
  {
    name: "idle-limit-ignores-activity",
    what: "a session is ended as idle while something goes on in it",
    file: sandbox,
    search: "    return this.activities > 0 ? 0 : now(this.sandbox.engine) - this.lastActivity",
    replace: "    return now(this.sandbox.engine) - this.lastActivity",
    breaks: "S6"
  },

  // Errors
  {
    name: "state-error-swallowed",
    what: "a state error that leaves a body does not condemn the sandbox",
    file: sandbox,
    search: "      if (error.sandboxId === this.sandbox.id) this.sandbox.condemn(error)\n",
    replace: "",
    breaks: "X3 I4"
  },
  {
    name: "foreign-state-error-condemns",
    what: "the state error of another sandbox condemns this one",
    file: sandbox,
    search: "      if (error.sandboxId === this.sandbox.id) this.sandbox.condemn(error)\n",
    replace: "      this.sandbox.condemn(error)\n",
    breaks: "X3 X4"
  },
  {
    name: "state-error-from-teardown",
    what: "a state error of a session's teardown is raised to its user",
    file: sandbox,
    search: "    return sessionId !== undefined && Object.values(errors).some(hasUserError)\n",
    replace: "    return sessionId !== undefined && Object.values(errors).length > 0\n",
    breaks: "X6 I9"
  },
  {
    name: "teardown-error-swallowed",
    what: "what a user's teardown raises is not told",
    file: sandbox,
    search: "    return sessionId !== undefined && Object.values(errors).some(hasUserError)\n",
    replace:
      "    return sessionId !== undefined && Object.values(errors).length > 1 && Object.values(errors).some(hasUserError)\n",
    breaks: "X6 I9"
  },
  {
    name: "teardown-error-hides-body-error",
    what: "the error of a teardown comes before that of the body",
    file: "Environment.ts",
    search: "        Exit.isSuccess(exit) && error !== undefined ? Effect.fail(error) : exit\n",
    replace: "        error !== undefined ? Effect.fail(error) : exit\n",
    breaks: "X6 I9"
  },
  {
    name: "teardown-failure-reuses",
    what: "a sandbox whose session was not taken down is used again",
    file: sandbox,
    search:
      "        return Effect.map(sandbox.afterSession(ended, Object.keys(errors).length > 0), (shutdownError) => {",
    replace: "        return Effect.map(sandbox.afterSession(ended, false), (shutdownError) => {",
    breaks: "X6"
  },
  {
    name: "set-up-error-to-nobody",
    what: "an error of a set-up is told to nobody",
    file: pool,
    search: "    if (waiter !== undefined) this.refuse(waiter, cause)\n",
    replace: "    void waiter\n",
    breaks: "X5"
  },
  {
    name: "session-set-up-error-keeps-sandbox",
    what: "a sandbox whose session could not be set up is not taken down",
    file: sandbox,
    search: "        this.engine.background(this.shutDown(`session set-up failed: ${error.message}`))\n",
    replace: "",
    breaks: "X5 L15"
  },
  {
    name: "background-set-up-strands",
    what: "a sandbox whose next session could not be set up in the background keeps its place",
    file: sandbox,
    search:
      "      return Effect.andThen(\n        this.shutDown(`set-up failed: ${causeInfo(exit.cause).message}`),\n        Effect.failCause(exit.cause)\n      )",
    replace:
      "      return Effect.andThen(\n        this.wasReady ? Effect.void : this.shutDown(`set-up failed: ${causeInfo(exit.cause).message}`),\n        Effect.failCause(exit.cause)\n      )",
    breaks: "S3 P3"
  },

  // Set-up and teardown
  {
    name: "teardown-order",
    what: "features are torn down in the order of their set-up",
    file: sandbox,
    search: "      parts.toReversed(),\n",
    replace: "      [...parts],\n",
    breaks: "I1"
  },
  {
    name: "teardown-stops-half-way",
    what: "a teardown that fails keeps those after it from running",
    file: sandbox,
    search:
      "          if (cause === undefined) return\n          errors[part.feature.id] = cause\n          this.noteTeardown(cause)\n        })",
    replace:
      "          if (cause === undefined) return\n          errors[part.feature.id] = cause\n          this.noteTeardown(cause)\n        })\n        if (Object.keys(errors).length > 0) return Effect.void",
    breaks: "X6 I1"
  },
  {
    name: "interrupted-set-up-not-torn-down",
    what: "a sandbox whose set-up was interrupted is not taken down",
    file: sandbox,
    search: "      if (Exit.isSuccess(exit)) return Effect.void\n      for (const error",
    replace:
      "      if (Exit.isSuccess(exit)) return Effect.void\n      if (Cause.hasInterruptsOnly(exit.cause)) return Effect.failCause(exit.cause)\n      for (const error",
    breaks: "I1 I7"
  },
  {
    name: "failed-session-not-torn-down",
    what: "a session whose set-up failed is not torn down",
    file: sandbox,
    search:
      "        for (const error of stateErrors(exit.cause)) this.record(error)\n        const error = causeInfo(exit.cause)\n",
    replace:
      "        for (const error of stateErrors(exit.cause)) this.record(error)\n        this.session = undefined\n        const error = causeInfo(exit.cause)\n",
    breaks: "I1 L15"
  },
  {
    name: "interrupt-skips-teardown",
    what: "a session whose user was interrupted is not torn down",
    file: "Environment.ts",
    search: "        Effect.flatMap(Effect.exit(restore(inSession(session, body))), (exit) => end(session, exit))\n",
    replace:
      "        Effect.flatMap(restore(inSession(session, body)), (value) => end(session, Exit.succeed(value)))\n",
    breaks: "I1 S5"
  },

  // Health
  {
    name: "pings-during-set-up",
    what: "a sandbox is pinged while a session is set up or torn down",
    file: sandbox,
    search: '    return this.status === "Ready" || (this.status === "InSession" && this.session?.phase === "open")\n',
    replace: '    return this.status !== "ShuttingDown" && this.status !== "Offline"\n',
    breaks: "H1"
  },
  {
    name: "check-goes-on",
    what: "a check is not interrupted when a session starts",
    file: sandbox,
    search: "      if (this.check !== undefined) {\n        // Whoever",
    replace: "      if (this.check !== undefined && this.served > 1000) {\n        // Whoever",
    breaks: "H1"
  },
  {
    name: "failed-ping-ignored",
    what: "a ping that fails is of no consequence",
    file: sandbox,
    search: "            if (Exit.isFailure(exit)) {\n              this.condemn(",
    replace: "            if (Exit.isFailure(exit) && counter > 1000) {\n              this.condemn(",
    breaks: "H1"
  },
  {
    name: "outage-never-ends",
    what: "an outage goes on after a sandbox came up",
    file: pool,
    search: "          this.recovered()\n",
    replace: "          if (this.outage?.isOver !== true) this.recovered()\n",
    breaks: "H3"
  },
  {
    name: "user-error-ends-outage",
    what: "a user error in a set-up ends an outage",
    file: pool,
    search:
      "    // A user error belongs to whoever asked (X5); what nobody asked for waits for the next housekeeping round.\n",
    replace: "    this.recovered()\n",
    breaks: "H3 L22"
  },
  {
    name: "user-error-begins-outage",
    what: "a user error in a set-up begins an outage",
    file: pool,
    search: "    if (isOutage(cause)) {\n",
    replace: "    if (cause.reasons.length > 0) {\n",
    breaks: "H3 L22 X5"
  },
  {
    name: "outage-blocks-other-images",
    what: "an outage of one image keeps others from growing",
    file: pool,
    search: "    while (this.wantsMore() && this.outage === undefined) {\n",
    replace:
      "    while (this.wantsMore() && this.outage === undefined && this.engine.destroyed - this.engine.created > -4) {\n",
    breaks: "L6 P3"
  },
  {
    name: "housekeeping-does-not-heal",
    what: "housekeeping does not look after missing sandboxes",
    file: environment,
    search: "        missing += pool.heal()\n",
    replace: "",
    breaks: "H2"
  },

  // Shutdown
  {
    name: "shutdown-does-not-wait",
    what: "a shutdown returns before the sandboxes are down",
    file: environment,
    search: "            return Effect.timeoutOption(Deferred.await(sandbox.offline), patience)\n",
    replace: "            return Effect.timeoutOption(Deferred.await(sandbox.offline), patience / 1e9)\n",
    breaks: "H5"
  },
  {
    name: "second-shutdown-does-not-wait",
    what: "whoever asks second for a shutdown does not wait for it",
    file: environment,
    search: "      if (hasEnded(this)) return offline\n",
    replace: "      if (hasEnded(this)) return Effect.void\n",
    breaks: "H5 L12"
  },
  {
    name: "host-not-torn-down",
    what: "host features are not torn down",
    file: environment,
    search: "          const cause = yield* bounded.close(host.scope, this.config.teardownTimeout)\n",
    replace:
      "          const cause = host.isTold ? undefined : yield* bounded.close(host.scope, this.config.teardownTimeout)\n",
    breaks: "H4 I1"
  },
  {
    name: "failed-start-leaks",
    what: "a start that fails leaves its sandboxes behind",
    file: environment,
    search:
      "        return Exit.isSuccess(exit) ? Effect.void : Effect.andThen(this.shutDown(), Effect.failCause(exit.cause))\n",
    replace:
      '        if (Exit.isFailure(exit)) this.status = "Offline"\n        return Exit.isSuccess(exit) ? Effect.void : Effect.failCause(exit.cause)\n',
    breaks: "L9 I7"
  },
  {
    name: "waiter-after-shutdown",
    what: "sessions are handed out while the environment shuts down",
    file: environment,
    search: '      if (this.status !== "Online") return Effect.fail(closedError(this))\n      const image',
    replace: "      const image",
    breaks: "H5 L4"
  },
  {
    name: "drain-cuts-sessions-short",
    what: "a drain ends the sessions that run",
    file: environment,
    search: "for (const sandbox of pool.live) if (!sandbox.isInUse) sandbox.stop(closed)\n",
    replace: "for (const sandbox of pool.live) sandbox.stop(closed)\n",
    breaks: "H5"
  },
  {
    name: "drain-does-not-end",
    what: "a drain does not notice that the last session is over",
    file: sandbox,
    search: "    if (!this.isInUse) this.engine.settle()\n",
    replace: "    if (!this.isInUse && this.served > 1000) this.engine.settle()\n",
    breaks: "H5"
  },
  {
    name: "drain-forgets-waiters",
    what: "a drain does not tell whoever waits for a sandbox",
    file: environment,
    search: "      pool.close(closed)\n      for",
    replace: "      for",
    breaks: "L4"
  },
  {
    name: "recycled-is-handed-out",
    what: "a sandbox that was to be replaced while it was made ready is handed out",
    file: pool,
    search: "        : sandbox.isToBeRecycled\n",
    replace: "        : sandbox.isToBeRecycled && sandbox.served > 1000\n",
    breaks: "P6"
  },
  {
    name: "recycled-stays-after-session",
    what: "a sandbox that was to be replaced while it was in a session stays",
    file: sandbox,
    search: '    if (this.isToBeRecycled) return "recycled"\n',
    replace: "",
    breaks: "P6"
  },

  // Events
  {
    name: "status-event-missing",
    what: "a move is not told",
    file: sandbox,
    search: "    if (this.engine.hub.isObserved()) {\n      publish(",
    replace: '    if (this.engine.hub.isObserved() && to !== "Acquired") {\n      publish(',
    breaks: "I6 V3"
  },
  {
    name: "last-event-dropped",
    what: "the last event of an environment is not told",
    file: environment,
    search:
      '          _tag: "EnvironmentShutDown",\n          ...this.facts(timestamp),\n          durationMillis: timestamp - started,\n          lifetimeMillis: timestamp - this.startedAt\n        }))',
    replace:
      '          _tag: "EnvironmentHousekeepingDone",\n          ...this.facts(timestamp),\n          durationMillis: timestamp - started,\n          counter: 0,\n          started: 0\n        }))',
    breaks: "V2 I6"
  },
  {
    name: "shutdown-does-not-drain",
    what: "a shutdown does not wait until its events are handled",
    file: environment,
    search: "        yield* Effect.timeoutOption(this.hub.drain, drainTimeoutMillis)\n",
    replace: "",
    breaks: "V2 H5"
  },
  {
    name: "ended-twice",
    what: "a session that is ended twice is taken down twice",
    file: sandbox,
    search: '        if (this.phase !== "open") return Deferred.await(this.ended)\n',
    replace: '        if (this.phase === "ended" || this.phase === "prepared") return Deferred.await(this.ended)\n',
    breaks: "L14 I1 I5"
  }
]
