/** The programs that every simulated sandbox has. */
import { filePrograms } from "./programsFiles.ts"
import type { Program } from "./programsCall.ts"
import { lookPrograms } from "./programsLook.ts"
import { processPrograms } from "./programsProcesses.ts"
import { shellPrograms } from "./programsShell.ts"
import { streamPrograms } from "./programsStreams.ts"
import { systemPrograms } from "./programsSystem.ts"
import { textPrograms } from "./programsText.ts"

export const builtIns: ReadonlyArray<Program> = [
  ...filePrograms,
  ...lookPrograms,
  ...processPrograms,
  ...shellPrograms,
  ...streamPrograms,
  ...systemPrograms,
  ...textPrograms
]
