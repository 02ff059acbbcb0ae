// Making and renewing what a page shows. Text of users gets into a page as text
// nodes and attributes alone, never as markup.

// h makes an element. Properties that begin with "on" are handlers, true and
// false set or leave an attribute; children are nodes, texts, or lists of them.
export function h(tag, props, ...children) {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) el[name] = value;
    else if (name === 'value' && 'value' in el) el.value = value;
    else el.setAttribute(name, value === true ? '' : String(value));
  }
  add(el, children);
  return el;
}

function add(el, children) {
  for (const child of children) {
    if (child === undefined || child === null || child === false) continue;
    if (Array.isArray(child)) add(el, child);
    else el.append(child instanceof Node ? child : String(child));
  }
}

// fill makes the children of an element what is given, and keeps those that are
// the same: what is open, checked, typed, selected or has the focus stays so.
export function fill(el, ...children) {
  const next = document.createElement(el.tagName);
  add(next, children);
  renewChildren(el, next);
}

const handlers = ['onclick', 'onchange', 'oninput', 'onsubmit', 'ontoggle', 'onkeydown'];

function same(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && (a.nodeType !== 1 || a.getAttribute('data-key') === b.getAttribute('data-key'));
}

function renewChildren(el, next) {
  const keyed = new Map();
  for (const child of el.children) {
    const key = child.getAttribute('data-key');
    if (key) keyed.set(key, child);
  }
  let at = el.firstChild;
  for (const want of [...next.childNodes]) {
    const key = want.nodeType === 1 && want.getAttribute('data-key');
    const known = key && keyed.get(key);
    if (known && known !== at && same(known, want)) {
      el.insertBefore(known, at);
      renew(known, want);
    } else if (at && same(at, want)) {
      const now = at;
      at = at.nextSibling;
      renew(now, want);
    } else {
      el.insertBefore(want, at);
    }
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

function renew(el, want) {
  if (el.nodeType !== 1) {
    if (el.data !== want.data) el.data = want.data;
    return;
  }
  for (const { name } of [...el.attributes]) {
    if (!want.hasAttribute(name) && !(name === 'open' && el.nodeName === 'DETAILS')) el.removeAttribute(name);
  }
  for (const { name, value } of want.attributes) {
    if (name === 'open' && el.nodeName === 'DETAILS') continue; // the reader's choice
    if (el.getAttribute(name) !== value) el.setAttribute(name, value);
  }
  for (const name of handlers) el[name] = want[name];
  if (el.hasAttribute('data-own')) return; // it sees to its content itself
  renewChildren(el, want);
}

// text is a short text of a value that may be anything.
export const text = (v) => (typeof v === 'string' ? v : JSON.stringify(v) ?? '');

// link is a link to a page of the console.
export const link = (to, ...children) => h('a', { href: to }, ...children);

// say tells briefly what was done.
export function say(message) {
  const box = document.getElementById('said');
  const line = h('p', {}, message);
  box.replaceChildren(line);
  setTimeout(() => line.remove(), 6000);
}

// problem shows an error: what, where, and each field at fault.
export function problem(err, retry) {
  return h('div', { class: 'banner bad', role: 'alert' },
    h('strong', {}, err.title || 'It did not work'), ' ', err.detail || err.message || '',
    err.errors?.length > 0 && h('ul', {}, err.errors.slice(0, 20).map((e) =>
      h('li', {}, e.pointer && h('code', {}, e.pointer), e.line ? ` line ${e.line}, column ${e.column}` : '', e.pointer || e.line ? ': ' : '', e.detail))),
    retry && h('button', { type: 'button', onclick: retry }, 'Try again'));
}

// empty says that there is nothing, and what to do next.
export function empty(message, ...next) {
  return h('div', { class: 'empty' }, h('p', {}, message), next);
}

// code is a command or some YAML to copy.
export function code(source) {
  return h('div', { class: 'snippet' }, h('pre', {}, h('code', {}, source)),
    h('button', {
      type: 'button', class: 'quiet', onclick: async () => {
        try {
          await navigator.clipboard.writeText(source);
          say('Copied.');
        } catch {
          say('The browser does not allow copying here; select the text instead.');
        }
      },
    }, 'Copy'));
}

// ask opens a dialog and answers whether what it asks was confirmed. With typed,
// that word is to be typed first.
export function ask({ title, body, confirm, danger, typed }) {
  return new Promise((resolve) => {
    const input = typed && h('input', { id: 'typed', autocomplete: 'off', spellcheck: 'false', oninput: () => { yes.disabled = input.value !== typed; } });
    const yes = h('button', { type: 'submit', class: danger ? 'danger' : 'primary', disabled: Boolean(typed) }, confirm);
    const done = (answer) => { dialog.remove(); resolve(answer); };
    const dialog = h('dialog', { 'aria-labelledby': 'dialog-title' },
      h('form', { onsubmit: (e) => { e.preventDefault(); if (!yes.disabled) done(true); } },
        h('h2', { id: 'dialog-title' }, title), h('p', {}, body),
        typed && h('p', {}, h('label', { for: 'typed' }, 'Type ', h('code', {}, typed), ' to confirm'), input),
        h('div', { class: 'actions' }, h('button', { type: 'button', onclick: () => done(false) }, 'Cancel'), yes)));
    dialog.addEventListener('cancel', (e) => { e.preventDefault(); done(false); });
    document.body.append(dialog);
    dialog.showModal();
    (input || yes).focus();
  });
}

// act runs what a button asks for: the button waits, and what goes wrong is shown
// in place.
export async function act(button, place, work) {
  button.disabled = true;
  button.setAttribute('aria-busy', 'true');
  try {
    await work();
    place?.replaceChildren();
  } catch (err) {
    if (err.name !== 'AbortError') (place ?? document.getElementById('main')).prepend(problem(err));
  } finally {
    button.disabled = false;
    button.removeAttribute('aria-busy');
  }
}
