// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.30;

/// One cheap call for a vote, and the memory that lets fees be divided later.
///
/// The current set is the first `count` entries of a numbered list. Entries of a list are never
/// changed or removed once they were current, so a pair (list, count) names its members for ever.
interface KeyServerLists {
    function getCurrentList() external view returns (uint256 list, uint256 count);

    /// The same with the caller's `place`: its index in the current set plus one, 0 for a stranger.
    function getCurrentPlace(address keyServer)
        external
        view
        returns (uint256 list, uint256 count, uint256 place);

    /// Index plus one in any list that is or was current, 0 for a stranger.
    function getPlace(uint256 list, address keyServer) external view returns (uint256 place);
}
