// @ts-check
/** The example of the workbench: a linear regression on two shared columns. */

/** @typedef {{name: string, shape: number[]|null, dtype: string|null}} Column */

/** @param {Column} column */
const isWhole = ({ dtype }) => !(dtype ?? '').includes('float');

/**
 * Two shared objects that fit each other: of one length, one number in each row.
 * @param {Column[]} store
 * @returns {[string, string]}
 */
function columns(store) {
  const numbers = store.toSorted((a, b) => Number(isWhole(a)) - Number(isWhole(b))); // measures before codes
  const narrow = numbers.filter(({ shape }) => shape !== null && shape.length > 0 && (shape[0] ?? 0) > 1
    && shape.slice(1).every((n) => n === 1));
  for (const x of narrow) {
    const y = narrow.find((other) => other !== x && other.shape?.[0] === x.shape?.[0]);
    if (y) return [x.name, y.name];
  }
  return ['x', 'y'];
}

/** @param {Column[]} store */
export function example(store) {
  const [x, y] = columns(store);
  return `# A line through two columns of the owner: target ≈ w · input + b
input = ${x}.float().reshape(-1, 1)
target = ${y}.float().reshape(-1, 1)
w = torch.zeros(1, 1, requires_grad=True)
b = torch.zeros(1, requires_grad=True)
opt = torch.optim.Adam([w, b], lr=0.3)
losses = []
for step in range(200):
    opt.zero_grad()
    loss = ((input @ w + b - target) ** 2).mean()
    loss.backward()
    opt.step()
    losses.append(loss.detach())
curve = torch.stack(losses)`;
}
