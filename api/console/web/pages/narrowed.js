// A page that lists all of a kind, and narrows the list down as one types.
import { h, fill, failing, empty, heading } from '../dom.js';
import { all, every } from '../api.js';
import { count } from '../words.js';

const shownMost = 500;

// narrowed makes the page. from is the call that lists, renewed each ms; texts
// are those of an item that what is typed is looked for in; show lists items;
// none is shown when there is nothing at all, noMatch when nothing fits, and one
// is the address that leads to any of them.
export function narrowed({ main, signal }, { title, lead, hint, from, ms, texts, show, none, noMatch, one }) {
  const failures = h('div');
  const list = h('section', {}, h('p', { class: 'loading' }, 'Reading…'));
  const search = h('input', { id: 'narrow', placeholder: hint, autocomplete: 'off' });
  main.append(heading(title, lead, h('label', { for: 'narrow' }, 'Only'), search), failures, list);
  let items = [];
  let more = false;
  const renew = () => {
    if (items.length === 0) {
      fill(list, none());
      return;
    }
    const wanted = search.value.trim();
    const fit = items.filter((item) => texts(item).some((t) => t.includes(wanted)));
    fill(list, fit.length === 0 ? empty(noMatch) : show(fit.slice(0, shownMost)),
      fit.length > shownMost && h('p', { class: 'note' }, `The first ${shownMost} of ${count(fit.length)}; narrow them down above.`),
      more && h('p', { class: 'note' }, `Only the first ${count(items.length)} are looked at; ${one} leads to any.`));
  };
  search.oninput = renew;
  every(ms, signal, async () => {
    ({ items, more } = await all(from, {}, signal));
    fill(failures);
    renew();
  }, failing(failures, list));
}
