import { Environment, LoadBalancer, Sandbox } from "@effect-sandbox/core"
import { TestEnvironment } from "@effect-sandbox/testing"
import { assert, it } from "@effect/vitest"
import { Arbitrary, Effect, Random, Schema } from "effect"
import { settle } from "./support/Lab.ts"

interface Item {
  readonly n: number
}

const balancers = [LoadBalancer.roundRobin, LoadBalancer.mostRecent, LoadBalancer.random]

const filled = (balancer: LoadBalancer.LoadBalancer, count: number) =>
  Effect.gen(function* () {
    const set = yield* balancer.make<Item>()
    const items = Array.from({ length: count }, (_, n): Item => ({ n }))
    for (const item of items) set.add(item)
    return { set, items }
  })

const takeAll = (set: LoadBalancer.ReadySet<Item>): ReadonlyArray<number> => {
  const taken: Array<number> = []
  for (let item = set.take(); item !== undefined; item = set.take()) taken.push(item.n)
  return taken
}

it.effect("P2 round robin takes the one that has been ready for longest", () =>
  Effect.gen(function* () {
    const { set } = yield* filled(LoadBalancer.roundRobin, 4)
    const first = set.take()
    assert.strictEqual(first?.n, 0)
    if (first !== undefined) set.add(first)
    assert.deepStrictEqual(takeAll(set), [1, 2, 3, 0])
  })
)

it.effect("P2 most recent takes the one that became ready last", () =>
  Effect.gen(function* () {
    const { set } = yield* filled(LoadBalancer.mostRecent, 4)
    const last = set.take()
    assert.strictEqual(last?.n, 3)
    if (last !== undefined) set.add(last)
    assert.deepStrictEqual(takeAll(set), [3, 2, 1, 0])
  })
)

it.effect("P2 I10 random takes any, the same ones for the same seed, and all of them sooner or later", () =>
  Effect.gen(function* () {
    const order = (seed: string) =>
      Effect.map(filled(LoadBalancer.random, 50), ({ set }) => takeAll(set)).pipe(Random.withSeed(seed))
    const a = yield* order("a")
    assert.sameMembers(
      [...a],
      Array.from({ length: 50 }, (_, n) => n)
    )
    assert.deepStrictEqual(yield* order("a"), a)
    assert.notDeepEqual(yield* order("b"), a)
    const firsts = new Set<number>()
    for (let i = 0; i < 500; i++) firsts.add((yield* order(`first ${i}`))[0] ?? -1)
    assert.strictEqual(firsts.size, 50)
  })
)

for (const balancer of balancers) {
  it.effect(`F21 what was removed is never taken (${balancer.name})`, () =>
    Effect.gen(function* () {
      const { items, set } = yield* filled(balancer, 5)
      for (const n of [0, 2, 4]) {
        const item = items[n]
        assert.isTrue(item !== undefined && set.remove(item))
        assert.isFalse(item !== undefined && set.remove(item), "it is out already")
      }
      assert.strictEqual(set.size, 2)
      assert.sameMembers([...takeAll(set)], [1, 3])
      assert.isUndefined(set.take())
      assert.isFalse(set.remove({ n: 1 }), "it was never in")
    })
  )

  it.effect.prop(
    `P2 F33 any order of adding, removing and taking agrees with a plain set (${balancer.name})`,
    [
      Arbitrary.array(
        Arbitrary.schema(
          Schema.Struct({
            action: Schema.Literals(["add", "add", "remove", "take"]),
            n: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 7 }))
          })
        ),
        { maxLength: 60 }
      )
    ],
    ([steps]) =>
      Effect.gen(function* () {
        const set = yield* balancer.make<Item>()
        const items = Array.from({ length: 8 }, (_, n): Item => ({ n }))
        const model = new Set<Item>()
        for (const { action, n } of steps) {
          const item = items[n] ?? { n }
          if (action === "add" && !model.has(item)) {
            set.add(item)
            model.add(item)
          } else if (action === "remove") {
            assert.strictEqual(set.remove(item), model.delete(item))
          } else if (action === "take") {
            const taken = set.take()
            if (taken === undefined) assert.strictEqual(model.size, 0, "something was in")
            else assert.isTrue(model.delete(taken), "it was not in, or had two owners")
          }
          assert.strictEqual(set.size, model.size)
          assert.sameMembers([...set], [...model])
        }
      }),
    { arbitrary: { runs: 200 } }
  )

  it.effect(`P2 taking and removing cost the same in a large pool as in a small one (${balancer.name})`, () =>
    Effect.gen(function* () {
      const { items, set } = yield* filled(balancer, 100_000)
      for (let i = 0; i < 100_000; i += 2) {
        const item = items[i]
        if (item !== undefined) set.remove(item)
      }
      assert.strictEqual(takeAll(set).length, 50_000) // quadratic would take minutes, and time out
    })
  )
}

for (const balancer of [LoadBalancer.roundRobin, LoadBalancer.mostRecent]) {
  it.effect(
    `P6 looking through the ready ones passes over none when some are removed meanwhile (${balancer.name})`,
    () =>
      Effect.gen(function* () {
        const { items, set } = yield* filled(balancer, 6)
        const seen: Array<number> = []
        for (const item of set) {
          seen.push(item.n)
          const later = items[4]
          // The one that is looked at, and one that is still to come.
          if (item.n === 1) set.remove(item)
          if (item.n === 2 && later !== undefined) set.remove(later)
        }
        assert.deepStrictEqual(seen, [0, 1, 2, 3, 5])
      })
  )
}

const here = Effect.map(Sandbox, ({ slot }) => slot)

const served = (loadBalancer: LoadBalancer.LoadBalancer | undefined, sessions: number) =>
  Effect.gen(function* () {
    const env = yield* Environment.make({
      id: "env",
      images: ["base"],
      pool: 4,
      keepaliveInterval: 0,
      ...(loadBalancer === undefined ? {} : { loadBalancer })
    })
    const slots: Array<number> = []
    for (let i = 0; i < sessions; i++) {
      slots.push(yield* env.withSession({}, here))
      yield* settle
    }
    return slots
  }).pipe(TestEnvironment.run)

it.effect("P2 an environment uses its load balancer: round robin by default", () =>
  Effect.gen(function* () {
    const inTurn = yield* served(undefined, 8)
    assert.deepStrictEqual(inTurn, [0, 1, 2, 3, 0, 1, 2, 3])
    assert.deepStrictEqual(yield* served(LoadBalancer.roundRobin, 8), inTurn)
    assert.deepStrictEqual(yield* served(LoadBalancer.mostRecent, 4), [3, 3, 3, 3])
    const seeded = served(LoadBalancer.random, 20).pipe(Random.withSeed("seed"))
    const random = yield* seeded
    assert.isAbove(new Set(random).size, 2)
    assert.deepStrictEqual(yield* seeded, random)
  })
)

it.effect("P2 a load balancer of one's own is asked for one set per image, and decides", () =>
  Effect.gen(function* () {
    let sets = 0
    const highest: LoadBalancer.LoadBalancer = {
      name: "highest slot",
      make: <A extends object>() =>
        Effect.sync((): LoadBalancer.ReadySet<A> => {
          sets++
          const items = new Set<A>()
          const slot = (item: A) => ("slot" in item ? Number(item.slot) : -1)
          return {
            get size() {
              return items.size
            },
            add: (item) => void items.add(item),
            remove: (item) => items.delete(item),
            take: () => {
              const best = [...items].toSorted((a, b) => slot(b) - slot(a))[0]
              if (best !== undefined) items.delete(best)
              return best
            },
            [Symbol.iterator]: () => items[Symbol.iterator]()
          }
        })
    }
    const env = yield* Environment.make({
      id: "env",
      images: ["base", "other"],
      pool: 3,
      keepaliveInterval: 0,
      loadBalancer: highest
    })
    assert.strictEqual(sets, 2)
    for (const image of ["base", "other"]) {
      assert.strictEqual(yield* env.withSession({ image }, here), 2)
      yield* settle
      assert.strictEqual(yield* env.withSession({ image }, here), 2)
    }
  }).pipe(TestEnvironment.run)
)
