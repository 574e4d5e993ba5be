// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

import {Box, PendingRequests, Queue, Tally} from "contracts/services/PendingRequests.sol";
import {Seat} from "contracts/services/ServiceBase.sol";

/// What one more vote has led to.
enum Verdict {
    /// The server had voted before; nothing has changed.
    Repeated,
    Open,
    /// A majority agrees with this vote.
    Agreed,
    /// A majority reports an error, or none can agree any more.
    Failed
}

// The vote of a server that cannot answer.
uint160 constant ERROR_ANSWER = type(uint160).max;

/// Stages in which more than half of the key servers have to give the same answer.
library MajorityVotes {
    using PendingRequests for Queue;
    using PendingRequests for Box;

    /// Counts one vote. The caller stores the box where the verdict is `Open` or `Agreed`.
    function cast(Queue storage queue, Box memory box, Seat memory seat, uint160 answer)
        internal
        returns (Verdict)
    {
        bool first = box.refresh(seat);
        if (!queue.mark(box, seat, Tally.Voters)) return Verdict.Repeated;
        uint256 voters = queue.votersCount(box, seat, Tally.Voters);
        if (first) box.answer = answer;
        (uint256 votes, uint256 best) =
            box.answer == answer ? (voters, voters) : _countDiffering(queue, box, answer, voters);
        uint256 majority = seat.count / 2 + 1;
        if (votes >= majority) return answer == ERROR_ANSWER ? Verdict.Failed : Verdict.Agreed;
        return best + seat.count - voters < majority ? Verdict.Failed : Verdict.Open;
    }

    /// Counts in the tallies, where the equal votes so far are moved at the first difference.
    function _countDiffering(Queue storage queue, Box memory box, uint160 answer, uint256 voters)
        private
        returns (uint256 votes, uint256 best)
    {
        bytes32 bestKey = queue.tallyKey(box, Tally.BestVotes, 0);
        if (box.answer != 0) {
            queue.tallies[queue.tallyKey(box, Tally.Votes, box.answer)] = voters - 1;
            queue.tallies[bestKey] = voters - 1;
            box.answer = 0;
        }
        bytes32 key = queue.tallyKey(box, Tally.Votes, answer);
        votes = queue.tallies[key] + 1;
        queue.tallies[key] = votes;
        best = queue.tallies[bestKey];
        if (votes <= best) return (votes, best);
        queue.tallies[bestKey] = votes;
        return (votes, votes);
    }
}
