/** All checks, topic by topic. */
import type { Check } from "./check.ts"
import { checks as args } from "./topics/arguments.ts"
import { checks as confinement } from "./topics/confinement.ts"
import { checks as copies } from "./topics/copies.ts"
import { checks as death } from "./topics/death.ts"
import { checks as deathInFlight } from "./topics/deathInFlight.ts"
import { checks as deathInSession } from "./topics/deathInSession.ts"
import { checks as directories } from "./topics/directories.ts"
import { checks as exec } from "./topics/exec.ts"
import { checks as execLimits } from "./topics/execLimits.ts"
import { checks as exits } from "./topics/exits.ts"
import { checks as files } from "./topics/files.ts"
import { checks as handles } from "./topics/handles.ts"
import { checks as input } from "./topics/input.ts"
import { checks as isolation } from "./topics/isolation.ts"
import { checks as kill } from "./topics/kill.ts"
import { checks as largeFiles } from "./topics/largeFiles.ts"
import { checks as leaks } from "./topics/leaks.ts"
import { checks as lifecycle } from "./topics/lifecycle.ts"
import { checks as links } from "./topics/links.ts"
import { checks as load } from "./topics/load.ts"
import { checks as metadata } from "./topics/metadata.ts"
import { checks as names } from "./topics/names.ts"
import { checks as output } from "./topics/output.ts"
import { checks as pipes } from "./topics/pipes.ts"
import { checks as reset } from "./topics/reset.ts"
import { checks as resetProcesses } from "./topics/resetProcesses.ts"
import { checks as sessions } from "./topics/sessions.ts"
import { checks as spawning } from "./topics/spawning.ts"
import { checks as trees } from "./topics/trees.ts"
import { checks as variables } from "./topics/variables.ts"
import { checks as watching } from "./topics/watching.ts"
import { checks as workingDirectory } from "./topics/workingDirectory.ts"
import { checks as workspace } from "./topics/workspace.ts"

export const all: ReadonlyArray<Check> = [
  ...spawning,
  ...exits,
  ...args,
  ...variables,
  ...workingDirectory,
  ...input,
  ...output,
  ...pipes,
  ...kill,
  ...trees,
  ...exec,
  ...execLimits,
  ...sessions,
  ...files,
  ...copies,
  ...directories,
  ...handles,
  ...metadata,
  ...links,
  ...names,
  ...largeFiles,
  ...watching,
  ...workspace,
  ...confinement,
  ...reset,
  ...resetProcesses,
  ...isolation,
  ...load,
  ...lifecycle,
  ...leaks,
  ...death,
  ...deathInFlight,
  ...deathInSession
]
