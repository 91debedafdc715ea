/**
 * Builds the pages of the package into `web-dist/`, each a single HTML file that needs nothing else:
 * `node web/build.ts`
 */
import { createHash } from "node:crypto"
import { readFile, writeFile } from "node:fs/promises"
import { fileURLToPath } from "node:url"
import { build } from "vite"
import { viteSingleFile } from "vite-plugin-singlefile"

const here = fileURLToPath(new URL(".", import.meta.url))

const page = (name: string) =>
  build({
    root: `${here}${name}`,
    configFile: false,
    logLevel: "warn",
    plugins: [viteSingleFile()],
    oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
    build: {
      outDir: `${here}../web-dist`,
      emptyOutDir: false,
      target: "es2023",
      modulePreload: false,
      rolldownOptions: { input: `${here}${name}/${name}.html` }
    }
  })

await Promise.all(["timeline", "dashboard"].map(page))

/** Lets the timeline run its own script and style, and nothing else: it opens no connection, and loads nothing. */
const seal = async (file: string): Promise<void> => {
  const html = await readFile(file, "utf8")
  const hashes = (element: RegExp) =>
    [...html.matchAll(element)].map(([, text = ""]) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`)
  const scripts = hashes(/<script type="module"[^>]*>([^]*?)<\/script>/g)
  const styles = hashes(/<style[^>]*>([^]*?)<\/style>/g)
  const policy = [
    "default-src 'none'",
    `script-src ${scripts.join(" ")}`,
    `style-src ${styles.join(" ")}`,
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'"
  ].join("; ")
  const sealed = `<meta charset="utf-8" />\n    <meta http-equiv="Content-Security-Policy" content="${policy}" />`
  await writeFile(
    file,
    html.replace('<meta charset="utf-8" />', () => sealed)
  )
}

await seal(`${here}../web-dist/timeline.html`)
