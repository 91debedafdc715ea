/** Recent failures by kind, and how handlers keep up. */
import type { EnvironmentState } from "../../src/internal/dashboard/protocol.ts"
import { count, span, words } from "./format.ts"
import { now } from "./state.ts"

export const Failures = ({ environment }: { readonly environment: EnvironmentState }) => (
  <section class="card" aria-label="Recent failures">
    <h2>Failures of the last five minutes</h2>
    {environment.failures.length === 0 ? (
      <p class="empty">None.</p>
    ) : (
      <div class="scroll" tabIndex={0} role="group" aria-label="Failures by kind">
        <table>
          <thead>
            <tr>
              <th class="number">Count</th>
              <th>Error</th>
              <th>Told by</th>
              <th>Last</th>
            </tr>
          </thead>
          <tbody>
            {environment.failures.map((one) => (
              <tr key={`${one.kind} ${one.tag} ${one.image}`}>
                <td class="number">{count(one.count)}</td>
                <td>
                  <strong class={one.isStateError ? "bad" : ""}>{one.tag}</strong>
                  <span class="message" title={one.message}>
                    {one.message}
                  </span>
                </td>
                <td class="kind">
                  {words(one.kind)}
                  {one.image !== undefined && <span class="message">{one.image}</span>}
                </td>
                <td class="when">{span(Math.max(0, now.value - one.last))} ago</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    )}
  </section>
)

export const Handlers = ({ environment }: { readonly environment: EnvironmentState }) => (
  <section class="card" aria-label="Event handlers">
    <h2>Event handlers</h2>
    <div class="scroll" tabIndex={0} role="group" aria-label="Statistics of handlers">
      <table>
        <thead>
          <tr>
            <th>Handler</th>
            <th class="number">Handled</th>
            <th class="number">Waiting</th>
            <th class="number">Dropped</th>
            <th class="number">Failed</th>
          </tr>
        </thead>
        <tbody>
          {environment.handlers.map((one, index) => (
            <tr key={index}>
              <td>{one.name}</td>
              <td class="number">{count(one.handled)}</td>
              <td class="number">{count(one.queued)}</td>
              <td class={one.dropped > 0 ? "number bad" : "number"}>{count(one.dropped)}</td>
              <td class={one.failed > 0 ? "number bad" : "number"}>{count(one.failed)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  </section>
)
