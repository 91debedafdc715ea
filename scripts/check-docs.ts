/**
 * Compiles the TypeScript in the documentation, and looks whether its links lead somewhere.
 *
 *     sh scripts/run.sh docs:check
 *
 * Every `ts` block of the Markdown files is compiled as a module of its own, and so is every one in a doc comment of a
 * package that has an import. A block is written to a file at the line that it has in its source, so what the compiler
 * says about a line is true of the source as well.
 */
import { spawnSync } from "node:child_process"
import { existsSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { dirname, join, resolve } from "node:path"

const root = resolve(import.meta.dirname, "..")
const cache = join(root, "node_modules/.cache/docs")

interface Block {
  readonly source: string
  /** The line of its first line of code, from 1. */
  readonly line: number
  readonly lines: ReadonlyArray<string>
}

/** The blocks between "```ts" and "```", whatever `prefix` (the star of a doc comment, an indentation) is before. */
const blocksOf = (source: string): ReadonlyArray<Block> => {
  const blocks: Array<Block> = []
  let open: { readonly line: number; readonly prefix: string; readonly lines: Array<string> } | undefined
  for (const [index, text] of readFileSync(join(root, source), "utf8").split("\n").entries()) {
    const fence = /^(\s*(?:\*\s)?\s*)```(\w*)\s*$/.exec(text)
    if (fence === null) {
      open?.lines.push(text.startsWith(open.prefix) ? text.slice(open.prefix.length) : text.replace(/^\s*\*?\s?/, ""))
    } else if (open === undefined) {
      open = { line: index + 2, prefix: fence[1] ?? "", lines: [] }
      if (fence[2] === "ts" || fence[2] === "typescript") blocks.push({ source, ...open })
    } else {
      open = undefined
    }
  }
  return blocks
}

const markdown = [
  ...globSync(["*.md", "docs/**/*.md", "packages/*/README.md", "examples/**/*.md"], {
    cwd: root,
    exclude: (path) => path.includes("node_modules") || path.startsWith("docs/api")
  })
].sort()
const sources = globSync("packages/*/src/*.ts", { cwd: root }).sort()

const blocks = [
  ...markdown.flatMap(blocksOf),
  ...sources.flatMap(blocksOf).filter(({ lines }) => lines.some((line) => /^import\s/.test(line)))
]

rmSync(cache, { recursive: true, force: true })
mkdirSync(cache, { recursive: true })
const sourceOf = new Map<string, string>()
for (const [index, { line, lines, source }] of blocks.entries()) {
  const file = `${index}.ts`
  sourceOf.set(file, source)
  writeFileSync(join(cache, file), "\n".repeat(line - 1) + lines.join("\n") + "\n")
}
const up = "../../.."
writeFileSync(
  join(cache, "tsconfig.json"),
  JSON.stringify({
    extends: `${up}/tsconfig.base.json`,
    include: ["*.ts"],
    exclude: [],
    compilerOptions: {
      composite: false,
      declarationMap: false,
      noEmit: true,
      rootDir: up,
      tsBuildInfoFile: null,
      types: ["node"],
      rewriteRelativeImportExtensions: false,
      allowImportingTsExtensions: true,
      noUnusedLocals: false,
      noUnusedParameters: false,
      paths: Object.fromEntries(
        ["core", "testing", "docker-driver", "devtools"].flatMap((name) => [
          [`@effect-sandbox/${name}`, [`${up}/packages/${name}/src/index.ts`]],
          [`@effect-sandbox/${name}/*`, [`${up}/packages/${name}/src/*.ts`]]
        ])
      )
    }
  })
)

const problems: Array<string> = []

const tsc = spawnSync(join(root, "node_modules/.bin/tsc"), ["-p", cache, "--pretty", "false"], {
  cwd: cache,
  encoding: "utf8"
})
if (tsc.error !== undefined) problems.push(`tsc could not be run: ${tsc.error.message}`)
const output = `${tsc.stdout ?? ""}${tsc.stderr ?? ""}`.trim()
if (output !== "") {
  for (const line of output.split("\n")) {
    const [, file = "", number = "", message = ""] = /^(\d+\.ts)\((\d+),\d+\): (.*)$/.exec(line) ?? []
    const source = sourceOf.get(file)
    problems.push(source === undefined ? line : `${source}:${number}: ${message}`)
  }
} else if (tsc.status !== 0) {
  problems.push(`tsc ended with ${tsc.status}`)
}

/** Links to files of the repository. What is inside code is no link. */
let links = 0
for (const source of markdown) {
  let isCode = false
  for (const [index, text] of readFileSync(join(root, source), "utf8").split("\n").entries()) {
    if (/^\s*```/.test(text)) isCode = !isCode
    if (isCode) continue
    for (const [, target = ""] of text.replaceAll(/`[^`]*`/g, "").matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^(?:[a-z]+:|#)/.test(target)) continue
      links++
      const path = join(root, dirname(source), target.replace(/#.*$/, ""))
      if (!existsSync(path)) problems.push(`${source}:${index + 1}: there is no ${target}`)
    }
  }
}

for (const problem of problems) console.error(problem)
console.log(
  `${blocks.length} blocks of ${new Set(blocks.map(({ source }) => source)).size} files, ${links} links: ` +
    (problems.length === 0 ? "all well" : `${problems.length} problems`)
)
process.exitCode = problems.length === 0 ? 0 : 1
