/**
 * Builds the pages of the package into `web-dist/`, each a single HTML file that needs nothing else:
 * `node web/build.ts`
 */
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
      rolldownOptions: { input: `${here}${name}/${name}.html` }
    }
  })

await Promise.all(["timeline", "dashboard"].map(page))
