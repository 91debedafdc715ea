/** What not every driver has. What a driver does not have is not checked, and the report says so. */

/**
 * Capabilities that are declared by name. Those the contract asks of every driver are on unless they are switched off;
 * those it leaves open are off unless they are switched on.
 */
export const flags = {
  programs: {
    default: true,
    description: "the image has the usual programs: true, false, cat, echo, printf, env, pwd, sleep, head, wc, seq"
  },
  shell: { default: true, description: "the image has a POSIX shell at /bin/sh, and with it the usual programs" },
  signals: { default: true, description: "processes can be signalled, and a death by signal is told as one" },
  processTree: {
    default: true,
    description: "killing a command kills everything it has started, also what left its process group"
  },
  orphanReaping: { default: true, description: "processes whose parent has gone are reaped (F20)" },
  modes: { default: true, description: "the permission bits of files are kept" },
  symlinks: { default: true, description: "the file system has symbolic links" },
  hardLinks: { default: true, description: "the file system has hard links" },
  watch: { default: true, description: "changes of files can be watched" },
  largeFiles: { default: true, description: "there is room for files of 100 MB" },
  home: { default: false, description: "`home` outlives `reset`, and sessions cannot write to it" },
  permissions: {
    default: false,
    description: "commands are kept from files by their permission bits (they are not root)"
  },
  additionalFds: { default: false, description: "commands can have descriptors beyond the usual three" },
  commandConfinement: { default: false, description: "commands, too, cannot see the host's files" },
  processIsolation: { default: false, description: "commands cannot signal processes of other sandboxes" },
  memoryLimit: { default: false, description: "a command that takes more and more memory is stopped by a limit" }
} as const satisfies { readonly [name: string]: { readonly default: boolean; readonly description: string } }

/** Capabilities that the suite needs help with: they are there when the option is. */
export const hooks = {
  death: { option: "kill", description: "the sandbox can die by itself, and the suite can make it" },
  freezing: { option: "freeze", description: "the sandbox can fall silent, and the suite can make it" },
  leaks: { option: "alive", description: "what the driver still has can be listed" },
  hostFile: { option: "hostFile", description: "there is a file of the host that nobody inside may reach" },
  hostVariable: { option: "hostVariable", description: "there is a variable of the host that nobody inside may see" },
  user: { option: "user", description: "commands can run as another user" }
} as const satisfies { readonly [name: string]: { readonly option: string; readonly description: string } }

export type Flag = keyof typeof flags
export type Hook = keyof typeof hooks
export type Capability = Flag | Hook

const keys = <K extends string>(record: { readonly [Key in K]: unknown }): ReadonlyArray<K> =>
  Object.keys(record) as Array<K> // both are literals above

export const allFlags: ReadonlyArray<Flag> = keys(flags)
export const allHooks: ReadonlyArray<Hook> = keys(hooks)
export const all: ReadonlyArray<Capability> = [...allFlags, ...allHooks]

const isFlag = (capability: Capability): capability is Flag => Object.hasOwn(flags, capability)

/** Why a capability is missing, for the report. */
export const whyMissing = (capability: Capability): string =>
  isFlag(capability)
    ? flags[capability].default
      ? "switched off in `capabilities`"
      : "not declared in `capabilities`"
    : `no \`${hooks[capability].option}\` in the options`

export const description = (capability: Capability): string =>
  isFlag(capability) ? flags[capability].description : hooks[capability].description
