/** Is it a driver? Two lines, and what it cannot do is declared and shown. */
import { driverConformance } from "@effect-sandbox/testing/vitest"
import { layer } from "./FilesDriver.ts"

driverConformance("FilesDriver", layer, { capabilities: { programs: false, shell: false } })
