import { availableParallelism } from "node:os"
import { configDefaults, defineConfig } from "vitest/config"

// Tests in real time against a real backend: opt in.
const integration = process.env["SANDBOX_INTEGRATION_TESTS"] === "1"

const onEngine = "**/*.engine.test.ts"
const inBrowser = "**/*.browser.test.ts"

const project = (name: string, root: string, include: string) => ({
  root,
  test: {
    name,
    include: [include],
    exclude: [...configDefaults.exclude, onEngine, inBrowser, ...(integration ? [] : ["**/*.integration.test.ts"])],
    sequence: { concurrent: true },
    // Tests wait more than they compute: two files at the same time also where vitest would run one.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    // A hang, not a slow machine: the tests of a file run at the same time and share two processors.
    testTimeout: 180_000
  }
})

export default defineConfig({
  test: {
    projects: [
      ...["core", "testing", "docker-driver", "devtools"].map((name) =>
        project(name, `packages/${name}`, "test/**/*.test.ts")
      ),
      project("examples", "examples", "testing/*.test.ts"),
      {
        root: "packages/docker-driver",
        test: {
          name: "engine",
          include: [onEngine],
          testTimeout: 180_000,
          hookTimeout: 180_000,
          // They share an engine and count what is on it: one file at a time, when all others are done.
          sequence: { concurrent: false, groupOrder: 1 },
          maxWorkers: 1,
          fileParallelism: false
        }
      },
      {
        root: "packages/devtools",
        test: {
          name: "browser",
          include: [inBrowser],
          testTimeout: 180_000,
          hookTimeout: 180_000,
          // What they see is timed, so nothing else runs beside them.
          sequence: { concurrent: false, groupOrder: 2 },
          maxWorkers: 1,
          fileParallelism: false
        }
      }
    ],
    passWithNoTests: true
  }
})
