// The tree of the report: every module, to search and to open.

(() => {
    'use strict';

    const { count, data, make } = window.page;
    const { asked, at, byName, changed, link, own, pick, shows } = window.report;

    const grow = () => {
        const root = { children: new Map(), name: '', module: null };
        for (const module of data.modules) {
            let place = root;
            let name = '';
            for (const part of module.name.split('.')) {
                name = name ? `${name}.${part}` : part;
                if (!place.children.has(part)) {
                    place.children.set(part, { children: new Map(), name, module: null, label: part });
                }
                place = place.children.get(part);
            }
            place.module = module;
        }
        return root;
    };

    const rows = []; // {element, place}
    const row = (place) => {
        const module = place.module || { name: place.name, type: '', role: 'frozen', node: null, sums: {}, why: '' };
        const { adapters, trainable } = module.sums;
        const badge = changed(module)
            ? make('span', { class: `badge ${module.change}` }, module.role === 'adapted' ? [module.kind, module.r && `r=${module.r}`].filter(Boolean).join(' ') : module.change === 'bias' ? 'bias' : 'trained')
            : null;
        const inside = !badge && adapters ? make('span', { class: 'quiet' }, `${adapters} adapter${adapters > 1 ? 's' : ''}`) : null;
        return make('span', { class: `row${trainable ? '' : ' untouched'}` }, link(module, {}, place.label),
            make('span', { class: 'type' }, module.type), badge, inside,
            trainable ? make('span', { class: 'count number', title: 'parameters that train' }, count(trainable)) : null);
    };
    const branch = (place, depth) => {
        let whole = place;
        while (whole.children.size === 1 && !/^\d+$/.test(whole.label) && !(whole.module && own(whole.module))) { // a box in a box
            const [inner] = whole.children.values();
            whole = { ...inner, label: `${whole.label}.${inner.label}` };
        }
        const line = row(whole);
        let element = make('div', {}, line);
        const children = Array.from(whole.children.values(), (child) => branch(child, depth + 1));
        if (children.length > 0) {
            const summary = make('summary', { tabindex: '-1' }, line);
            element = make('details', { open: depth < 2 && !/(^|\.)\d+$/.test(whole.label) }, summary, ...children.map((child) => child.element));
        }
        const kept = { element, line, place: whole, children, open: element.open };
        rows.push(kept);
        return kept;
    };

    const matches = (module, text) => text.split(/\s+/).every((word) => [
        module.name, module.type, module.role, module.kind || '', module.r ? `r=${module.r}` : ''
    ].some((said) => said.toLowerCase().includes(word)));

    const search = (roots, text) => {
        let number = 0;
        const look = (each) => {
            const hit = !text || (each.place.module !== null && matches(each.place.module, text));
            number += hit && text ? 1 : 0;
            const below = each.children.map(look).some(Boolean);
            each.element.hidden = !hit && !below;
            if (each.children.length > 0) {
                each.element.open = text ? below : each.open;
            }
            each.line.style.opacity = text && !hit ? '0.6' : '';
            return hit || below;
        };
        roots.forEach(look);
        at('found').textContent = text ? `${number} of ${data.modules.length}` : `${data.modules.length}`;
    };

    const showTree = () => {
        const roots = Array.from(grow().children.values(), (place) => branch(place, 0));
        at('tree').append(...roots.map((each) => each.element));
        for (const each of rows) {
            each.element.addEventListener('toggle', () => {
                each.open = at('search').value ? each.open : each.element.open;
            });
        }
        at('search').addEventListener('input', () => search(roots, at('search').value.trim().toLowerCase()));
        search(roots, '');
        if (asked && byName.has(asked)) {
            const module = byName.get(asked);
            pick(module, false);
            for (const element of shows.get(asked)) {
                for (let outer = element.closest('details'); outer; outer = outer.parentElement.closest('details')) {
                    outer.open = true;
                }
                element.scrollIntoView({ block: 'nearest' });
            }
        }
    };

    showTree();
})();
