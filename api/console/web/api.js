// Calls of Switchyard's HTTP API, which is beside the folder of the console.

const root = new URL('../', document.baseURI);

// Problem is an error as the API answers it (RFC 9457).
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `the server answered ${status}`);
    Object.assign(this, { status, title: body.title, detail: body.detail, errors: body.errors });
  }
}

// parse reads JSON without losing a digit of numbers that JavaScript would
// round, where the browser can do that.
export function parse(source) {
  return JSON.parse(source, (_, value, context) =>
    typeof value === 'number' && context?.source && JSON.rawJSON && String(value) !== context.source ? JSON.rawJSON(context.source) : value);
}

// address is the URL of a call; what is empty in query is left out.
export function address(path, query) {
  const url = new URL(path.replace(/^\//, ''), root);
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== '') url.searchParams.set(name, value);
  }
  return url;
}

// path joins the parts of a path, each escaped. Dots, which no name is, would lead
// elsewhere.
export function path(...parts) {
  const odd = parts.find((p) => /^\.{1,2}$/.test(p));
  if (odd) throw new Problem(404, { title: 'Not Found', detail: `${odd} is not a name; correct the address` });
  return 'v1/' + parts.map((p) => encodeURIComponent(p)).join('/');
}

async function send(method, where, { query, body, signal } = {}) {
  const request = { method, signal, headers: { Accept: 'application/json' }, cache: 'no-store' };
  if (body !== undefined) {
    request.headers['Content-Type'] = 'application/json';
    request.body = typeof body === 'string' ? body : JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(address(where, query), request);
  } catch (err) {
    if (err.name === 'AbortError') throw err;
    offline(true);
    throw new Problem(0, { title: 'The server cannot be reached', detail: 'Is switchyard serve running, and the network there? This page goes on trying.' });
  }
  offline(false);
  const source = await answer.text();
  let value = null;
  try {
    value = source === '' ? null : parse(source);
  } catch {
    if (answer.ok) throw new Problem(answer.status, { title: 'The answer is not JSON', detail: source.slice(0, 200) });
  }
  if (!answer.ok) throw new Problem(answer.status, value ?? { title: answer.statusText, detail: source.slice(0, 500) });
  return value;
}

export const get = (where, query, signal) => send('GET', where, { query, signal });
export const post = (where, body, query) => send('POST', where, { body, query });
export const remove = (where, query) => send('DELETE', where, { query });

// listMost bounds the items that all reads.
const listMost = 2000;

// all reads a list from its start; more says that there is still more.
export async function all(where, query, signal) {
  const items = [];
  let after = '';
  do {
    const page = await get(where, { ...query, limit: 1000, after }, signal);
    items.push(...page.items);
    after = page.next;
  } while (after && items.length < listMost);
  return { items, more: Boolean(after) };
}

function offline(is) {
  const banner = document.getElementById('offline');
  banner.hidden = !is;
  banner.textContent = is ? 'The server cannot be reached: what is shown may be old. Trying again…' : '';
}

// every calls work now and each time that ms have passed since it ended, or
// longer if it takes long, while the page is seen, until signal ends; failed gets
// its errors. The func that it returns has it called at once.
export function every(ms, signal, work, failed) {
  let timer = 0;
  let busy = false;
  let again = false;
  const turn = async () => {
    clearTimeout(timer);
    again = busy;
    if (busy || signal.aborted) return;
    if (document.hidden) return; // visibilitychange goes on
    busy = true;
    const began = performance.now();
    try {
      await work();
    } catch (err) {
      if (err.name !== 'AbortError' && !signal.aborted) failed(err);
    }
    busy = false;
    if (!signal.aborted) timer = setTimeout(turn, again ? 0 : Math.max(ms, 5 * (performance.now() - began)));
  };
  document.addEventListener('visibilitychange', turn, { signal });
  signal.addEventListener('abort', () => clearTimeout(timer));
  turn();
  return turn;
}
