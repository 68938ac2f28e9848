//! Checkpointing: the reverse pass computes tensors of the forward pass again instead of keeping them.

use std::collections::HashMap;

use super::{Graph, Init, Node, Storage, Var};
use crate::error::Result;

impl Graph {
    /// Makes the reverse passes that are added later compute the tensors within each block ([`Graph::block`]) again,
    /// from the input of the block, instead of keeping them. This takes less memory and the time of another forward pass.
    /// The ops are the same, with the same random numbers: on the CPU the results have the same bits. On a GPU they are equal up
    /// to rounding, because the copies may be fused with other ops.
    ///
    /// *Source*: Chen et al. 2016, "Training deep nets with sublinear memory cost".
    pub fn recompute_blocks(&mut self) {
        self.recomputes = true;
    }

    /// Whether [`Graph::recompute_blocks`] was called.
    pub fn recomputes_blocks(&self) -> bool {
        self.recomputes
    }

    /// Calls `add`, whose nodes are one block for [`Graph::recompute_blocks`]. Of blocks within blocks, the outer ones
    /// count.
    ///
    /// # Errors
    /// Those of `add`.
    pub fn block<T>(&mut self, add: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.block.is_some() {
            return add(self);
        }
        self.block = Some(self.blocks);
        self.blocks += 1;
        let added = add(self);
        self.block = None;
        added
    }

    /// The number of blocks.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Inserts copies of the nodes of blocks before the nodes from `reverse` on that read tensors within them.
    pub(super) fn insert_recomputed(&mut self, reverse: usize) -> Result<()> {
        let mut blocks: Vec<(usize, Vec<usize>)> = Vec::new();
        for (i, node) in self.nodes[..reverse].iter().enumerate() {
            match (node.block, blocks.last_mut()) {
                (Some(block), Some((last, nodes))) if *last == block => nodes.push(i),
                (Some(block), _) => blocks.push((block, vec![i])),
                (None, _) => {}
            }
        }
        let mut inserted: Vec<(usize, Vec<Node>)> = Vec::new();
        for (_, block) in blocks {
            inserted.extend(self.recomputed(&block, reverse)?);
        }
        // From last to first, so that the positions before stay the same.
        inserted.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        for (at, nodes) in inserted {
            self.nodes.splice(at..at, nodes);
        }
        self.number_makers();
        Ok(())
    }

    /// Copies of the nodes of a block that the reverse pass needs, and the node before which they belong. The reverse pass
    /// then reads the copies.
    fn recomputed(&mut self, block: &[usize], reverse: usize) -> Result<Option<(usize, Vec<Node>)>> {
        let mut inner: HashMap<Var, usize> = HashMap::new();
        for &i in block.iter().filter(|i| self.repeats(&self.nodes[**i])) {
            inner.extend(self.nodes[i].outputs.iter().map(|v| (*v, i)));
        }
        // The input of the next block is kept.
        for (_, node) in self.nodes[..reverse].iter().enumerate().filter(|(i, _)| !block.contains(i)) {
            inner.retain(|v, _| !node.inputs.iter().any(|input| self.root(*input) == *v));
        }
        let reads = |node: &Node| node.inputs.iter().any(|v| inner.contains_key(&self.root(*v)));
        let readers: Vec<usize> = (reverse..self.nodes.len()).filter(|&i| reads(&self.nodes[i])).collect();
        let Some(&first) = readers.first() else { return Ok(None) };
        let mut needed: Vec<bool> = vec![false; block.len()];
        let mark = |node: &Node, needed: &mut Vec<bool>| {
            for maker in node.inputs.iter().filter_map(|v| inner.get(&self.root(*v))) {
                needed[block.iter().position(|i| i == maker).expect("it is a node of the block")] = true;
            }
        };
        readers.iter().for_each(|i| mark(&self.nodes[*i], &mut needed));
        for (at, &i) in block.iter().enumerate().rev() {
            if needed[at] {
                mark(&self.nodes[i], &mut needed);
            }
        }
        let mut copies: HashMap<Var, Var> = HashMap::new();
        let mut nodes = Vec::new();
        for (&i, _) in block.iter().zip(&needed).filter(|(_, needed)| **needed) {
            let node = self.nodes[i].clone();
            let inputs = node.inputs.iter().map(|v| self.copied(*v, &mut copies)).collect();
            let mut outputs = Vec::new();
            for &v in &node.outputs {
                let name = format!("{}.again", self.tensors[v].name);
                let copy = self.tensor(name, self.spec(v).clone(), Storage::Step, Init::Zero);
                if inner.contains_key(&v) {
                    copies.insert(v, copy);
                }
                outputs.push(copy);
            }
            nodes.push(Node { inputs, outputs, block: None, ..node });
        }
        for i in readers {
            let inputs = self.nodes[i].inputs.clone();
            self.nodes[i].inputs = inputs.into_iter().map(|v| self.copied(v, &mut copies)).collect();
        }
        Ok(Some((first, nodes)))
    }

    /// Whether a node can run again: it only computes tensors of one step.
    fn repeats(&self, node: &Node) -> bool {
        let temporary = |v: &Var| self.tensors[*v].storage == Storage::Step && !self.tensors[*v].kept;
        node.updates.is_empty() && node.outputs.iter().all(temporary)
    }

    /// The copy of a tensor or of a view of it, or itself.
    fn copied(&mut self, var: Var, copies: &mut HashMap<Var, Var>) -> Var {
        if let Some(copy) = copies.get(&var) {
            return *copy;
        }
        let Some(&of) = copies.get(&self.root(var)) else { return var };
        let view =
            self.tensor(self.tensors[var].name.clone(), self.spec(var).clone(), Storage::Alias { of }, Init::Zero);
        copies.insert(var, view);
        view
    }

    /// Finds the node of each tensor again, after nodes were moved.
    pub(crate) fn number_makers(&mut self) {
        for index in 0..self.tensors.len() {
            let var = self.tensors.var(index);
            self.tensors[var].maker = None;
        }
        for (i, node) in self.nodes.iter().enumerate() {
            for v in &node.outputs {
                self.tensors[*v].maker = Some(i);
            }
        }
    }
}
