import { configDefaults, defineConfig } from "vitest/config"

// Tests in real time against a real backend: opt in.
const integration = process.env["SANDBOX_INTEGRATION_TESTS"] === "1"

export default defineConfig({
  test: {
    projects: ["core", "testing", "docker-driver"].map((name) => ({
      root: `packages/${name}`,
      test: {
        name,
        include: ["test/**/*.test.ts"],
        exclude: integration ? configDefaults.exclude : [...configDefaults.exclude, "**/*.integration.test.ts"],
        sequence: { concurrent: true },
        // A hang, not a slow machine: the tests of a file run at the same time and share two processors.
        testTimeout: 60_000
      }
    })),
    passWithNoTests: true
  }
})
