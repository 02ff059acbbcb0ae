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
    if (key && !keyed.has(key)) keyed.set(key, child);
  }
  let at = el.firstChild;
  for (const want of [...next.childNodes]) {
    const key = want.nodeType === 1 && want.getAttribute('data-key');
    const known = key && keyed.get(key);
    keyed.delete(key);
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
    err.errors?.length > 0 && h('ul', {}, err.errors.slice(0, 20).map((e) => h('li', {},
      e.pointer && h('code', {}, e.pointer), e.line > 0 && ` line ${e.line}, column ${e.column}`, (e.pointer || e.line > 0) && ': ', e.detail))),
    retry && button('Try again', retry));
}

// failing shows an error in place, and ends the waiting that regions show.
export const failing = (place, ...regions) => (err) => {
  fill(place, problem(err));
  for (const region of regions) region.querySelector('.loading')?.remove();
};

// empty says that there is nothing, and what to do next.
export function empty(message, ...next) {
  return h('div', { class: 'empty' }, h('p', {}, message), next);
}

// heading is the title of a page, with what it is about and what one can do.
export function heading(title, lead, ...actions) {
  return h('div', { class: 'head' }, h('div', {}, h('h1', {}, title), lead && h('p', { class: 'lead' }, lead)),
    actions.length > 0 && h('div', { class: 'actions' }, actions));
}

// button is a button with what it does.
export const button = (label, onclick, more) => h('button', { type: 'button', onclick, ...more }, label);

// table lists rows. Each column is its name, what it shows of a row, and a class;
// on a phone each row is a card. key tells rows apart.
export function table(columns, rows, key) {
  return h('div', { class: 'panel scroll' }, h('table', { class: 'cards' },
    h('thead', {}, h('tr', {}, columns.map(([name, , look]) => h('th', { scope: 'col', class: look }, name)))),
    h('tbody', {}, rows.map((row) => h('tr', { 'data-key': key(row) },
      columns.map(([name, cell, look], i) => h('td', { class: look, 'data-label': (i > 0 && name) || null }, h('div', {}, cell(row)))))))));
}

// figures shows numbers large, each with what it counts.
export const figures = (...list) => h('div', { class: 'figures' },
  list.filter(Boolean).map(([n, label]) => h('div', {}, h('b', {}, n), h('span', {}, label))));

// facts is a list of names and values; those that have none are left out.
export const facts = (list) => h('dl', {}, list.filter(([, v]) => v !== undefined && v !== null && v !== false && v !== '')
  .map(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));

// code is a command or some YAML to copy.
export function code(source) {
  return h('div', { class: 'snippet' }, h('pre', {}, h('code', {}, source)),
    button('Copy', async () => {
      try {
        await navigator.clipboard.writeText(source);
        say('Copied.');
      } catch {
        say('The browser does not allow copying here; select the text instead.');
      }
    }, { class: 'quiet' }));
}

// ask opens a dialog and answers whether what it asks was confirmed. With typed,
// that word is to be typed first.
export function ask({ title, body, confirm, danger, typed }) {
  const before = document.activeElement;
  return new Promise((resolve) => {
    const input = typed && h('input', { autocomplete: 'off', spellcheck: 'false', oninput: () => { yes.disabled = input.value !== typed; } });
    const yes = h('button', { type: 'submit', class: danger ? 'danger' : 'primary', disabled: Boolean(typed) }, confirm);
    const done = (answer) => {
      dialog.remove();
      before?.focus();
      resolve(answer);
    };
    const dialog = h('dialog', { 'aria-labelledby': 'dialog-title' },
      h('form', { onsubmit: (e) => { e.preventDefault(); if (!yes.disabled) done(true); } },
        h('h2', { id: 'dialog-title' }, title), h('p', {}, body),
        typed && h('p', { class: 'stack' }, h('label', {}, h('span', {}, 'Type ', h('code', {}, typed), ' to confirm'), input)),
        h('div', { class: 'actions' }, button('Cancel', () => done(false)), yes)));
    dialog.addEventListener('cancel', (e) => { e.preventDefault(); done(false); });
    document.body.append(dialog);
    dialog.showModal();
    (dialog.querySelector('input, select') ?? yes).focus();
  });
}

const busy = new WeakSet(); // buttons whose work is under way

// act runs what a button asks for, once at a time; what goes wrong is shown in
// place, until the next is done.
export async function act(pressed, place, work) {
  if (busy.has(pressed)) return;
  busy.add(pressed);
  pressed.setAttribute('aria-busy', 'true');
  place.replaceChildren();
  try {
    await work();
  } catch (err) {
    if (err.name !== 'AbortError') {
      place.replaceChildren(problem(err));
      place.scrollIntoView({ block: 'nearest' });
    }
  } finally {
    busy.delete(pressed);
    pressed.removeAttribute('aria-busy');
  }
}
