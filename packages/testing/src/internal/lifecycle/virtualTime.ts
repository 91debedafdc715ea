/**
 * A clock and a scheduler of one's own: nothing runs unless it is told to, a turn at a time, and time passes only when
 * nothing can run any more. So it is known exactly when everything has come to rest, a program can be disturbed after
 * any turn, and the same program takes the same turns again.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as References from "effect/References"
import * as Scheduler from "effect/Scheduler"

export interface VirtualTime {
  /** The clock, the scheduler, and what counts the fibers; for everything that is to run here. */
  readonly context: Context.Context<never>
  readonly now: () => number
  /** Lets so many turns pass, or all there are; tells whether everything is at rest. */
  readonly settle: (turns?: number) => boolean
  /**
   * Lets so much time pass, and everything happen that is due in it; at once, or when everything has come to rest
   * before. Tells whether everything is at rest.
   */
  readonly advance: (millis: number, isAtOnce?: boolean) => boolean
  /** The same until something is so, or the time is over. */
  readonly advanceUntil: (isSo: () => boolean, millis: number) => boolean
  /** Runs something in the next turn. */
  readonly later: (task: () => void) => void
  /** Sleeps that have not ended. */
  readonly timers: () => number
  /** Fibers that have not ended, of those that were started here. */
  readonly fibers: () => number
  /** Turns so far. */
  readonly turns: () => number
}

interface Timer {
  readonly due: number
  readonly fire: () => void
}

/** More turns than this without any time passing is something that runs in circles. */
const maxTurns = 200_000

export const make = (options: {
  readonly maxOpsBeforeYield?: number | undefined
  /** Chooses the task that runs next, of so many. Default: the first. */
  readonly choose?: ((count: number) => number) | undefined
}): VirtualTime => {
  let tasks: Array<() => void> = []
  let head = 0
  let now = 0
  let turns = 0
  let fibers = 0
  /** The next one last. */
  const timers: Array<Timer> = []
  const { choose } = options

  const later = (task: () => void): void => void tasks.push(task)

  const next = (): (() => void) | undefined => {
    const count = tasks.length - head
    if (count === 0) return undefined
    if (choose !== undefined && count > 1) {
      const chosen = head + choose(count)
      const task = tasks[chosen]
      tasks.splice(chosen, 1)
      return task
    }
    const task = tasks[head++]
    if (head === tasks.length) {
      tasks = []
      head = 0
    }
    return task
  }

  const settle = (limit = maxTurns): boolean => {
    for (let i = 0; i < limit; i++) {
      const task = next()
      if (task === undefined) return true
      turns++
      task()
    }
    return tasks.length === head
  }

  const advanceUntil = (isSo: () => boolean, millis: number, isAtOnce = false): boolean => {
    const end = now + millis
    if (!isAtOnce && !settle()) return false
    while (!isSo()) {
      const first = timers.at(-1)
      if (first === undefined || first.due > end) {
        now = Math.max(now, end)
        return settle()
      }
      now = first.due
      // All that are due together, as a real event loop does: what they lead to overlaps.
      for (let timer = timers.at(-1); timer?.due === now; timer = timers.at(-1)) {
        timers.pop()
        later(timer.fire)
      }
      if (!settle()) return false
    }
    return true
  }

  const sleep = (duration: Duration.Duration): Effect.Effect<void> =>
    Effect.callback<void>((resume) => {
      // In whole milliseconds, like a real timer: what comes short of a moment would come again and again.
      const millis = Math.ceil(Duration.toMillis(duration))
      if (!(millis > 0)) {
        later(() => resume(Effect.void))
        return undefined
      }
      let isOver = false
      const fire = (): void => {
        if (!isOver) resume(Effect.void)
      }
      const timer: Timer = { due: now + millis, fire }
      let low = 0
      let high = timers.length
      // Before those of the same time, which come first.
      while (low < high) {
        const middle = (low + high) >>> 1
        if ((timers[middle]?.due ?? 0) > timer.due) low = middle + 1
        else high = middle
      }
      timers.splice(low, 0, timer)
      return Effect.sync(() => {
        isOver = true
        const index = timers.indexOf(timer)
        if (index !== -1) timers.splice(index, 1)
      })
    })

  const nanos = () => BigInt(Math.round(now * 1_000_000))
  const clock: Clock.Clock = {
    currentTimeMillisUnsafe: () => now,
    currentTimeNanosUnsafe: nanos,
    monotonicTimeNanosUnsafe: nanos,
    currentTimeMillis: Effect.sync(() => now),
    currentTimeNanos: Effect.sync(nanos),
    monotonicTimeNanos: Effect.sync(nanos),
    sleep
  }

  const dispatcher: Scheduler.SchedulerDispatcher = {
    scheduleTask: later,
    flush: () => void settle()
  }
  const scheduler: Scheduler.Scheduler = {
    executionMode: "async",
    shouldYield: (fiber) => fiber.currentOpCount >= fiber.cache.maxOpsBeforeYield,
    makeDispatcher: () => dispatcher
  }

  return {
    context: Context.empty().pipe(
      Context.add(Clock.Clock, clock),
      Context.add(Scheduler.Scheduler, scheduler),
      Context.add(Scheduler.MaxOpsBeforeYield, options.maxOpsBeforeYield ?? 2048),
      // Thousands of programs have nothing to say that anybody would read.
      Context.add(References.MinimumLogLevel, "None"),
      Context.add(Metric.FiberRuntimeMetrics, {
        recordFiberStart: () => void fibers++,
        recordFiberEnd: () => void fibers--
      })
    ),
    now: () => now,
    settle,
    advance: (millis, isAtOnce) => advanceUntil(() => false, millis, isAtOnce),
    advanceUntil,
    later,
    timers: () => timers.length,
    fibers: () => fibers,
    turns: () => turns
  }
}
