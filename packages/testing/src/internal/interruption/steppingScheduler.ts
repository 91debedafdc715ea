/** A scheduler that counts the tasks that it runs, and does something after one of them. */
import type * as Scheduler from "effect/Scheduler"

export interface SteppingScheduler {
  /** To be provided to everything whose tasks count. */
  readonly scheduler: Scheduler.Scheduler
  /** Counts from here. */
  readonly begin: () => void
  /** Does something after the n-th task (1 is the first), between it and whatever would run next. */
  readonly after: (n: number, action: () => void) => void
  /** Does nothing any more. */
  readonly stop: () => void
}

/** The scheduler it is made from runs the tasks. */
export const steppingScheduler = (parent: Scheduler.Scheduler): SteppingScheduler => {
  let count = 0
  let at = 0
  let action: (() => void) | undefined
  const step = (): void => {
    count++
    if (count !== at || action === undefined) return
    const act = action
    action = undefined
    act()
  }
  return {
    scheduler: {
      executionMode: parent.executionMode,
      shouldYield: (fiber) => parent.shouldYield(fiber),
      makeDispatcher: () => {
        const dispatcher = parent.makeDispatcher()
        return {
          scheduleTask: (task, priority) =>
            dispatcher.scheduleTask(() => {
              task()
              step()
            }, priority),
          flush: () => dispatcher.flush()
        }
      }
    },
    begin: () => {
      count = 0
      action = undefined
    },
    after: (n, what) => {
      at = n
      action = what
    },
    stop: () => {
      action = undefined
    }
  }
}
